"""One sampler for several drives that one thread steps in turn: their branches share its batch.

A sampler hands out the events of all its branches at each step, and a `drive` reads those of its own only. A Share is
what one drive sees: the step of any share advances every branch, and what came for the others is kept for them.
"""

from collections.abc import Callable, Sequence

from lite.sampler import Ability, Event, Finished, Interruptible, Reason, Request, Sampler, Traits

__all__ = ["Share", "Shares"]


class Shares:
    """Hands out shares of a sampler, which stays the owner's to close.

    `progress` counts events handed out, and the steps of a sampler that computes here, which are never idle.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.progress = 0
        self._sampler = sampler
        self._owners: dict[Request, Share] = {}  # of branches that have not ended
        self._shares: list[Share] = []

    def share(self) -> "Share":
        """One more; close it when its drive is over."""
        share = Share(self, self._sampler)
        self._shares.append(share)
        return share

    def start(self, share: "Share", requests: Sequence[Request]) -> None:
        """Start a share's requests."""
        self._sampler.start(requests)
        self._owners |= dict.fromkeys(requests, share)

    def step(self, share: "Share") -> None:
        """Step the sampler on a share's behalf and put each event into its owner's inbox.

        It never waits, for calls may come that have no need of it. A step for several shares is not interrupted: the
        others' tokens would have to be computed anew.
        """
        if isinstance(self._sampler, Interruptible):
            self._sampler.watch(share.stop if len(self._shares) == 1 else _never)
            self.progress += 1
        for event in self._sampler.step(wait=False):
            is_over = isinstance(event, Finished)
            owner = self._owners.pop(event.request, None) if is_over else self._owners.get(event.request)
            if owner is not None:
                owner.inbox.append(event)
                self.progress += 1

    def leave(self, share: "Share") -> None:
        """Stop what the share has left and forget it; a no-op for one that has left."""
        if share in self._shares:
            self._shares.remove(share)
            for request in [request for request, owner in self._owners.items() if owner is share]:
                del self._owners[request]
                self._sampler.cancel(request)


class Share:
    """Implements `lite.sampler.Sampler`. Closing it ends its branches, not the sampler."""

    def __init__(self, shares: Shares, sampler: Sampler) -> None:
        self.inbox: list[Event] = []
        self.stop: Callable[[], bool] = _never
        self.sampler = sampler
        self._shares = shares

    @property
    def can(self) -> frozenset[Ability]:
        return self.sampler.can

    @property
    def traits(self) -> Traits:
        return self.sampler.traits

    def start(self, requests: Sequence[Request]) -> None:
        self._shares.start(self, requests)

    def cancel(self, request: Request, at: int | None = None, reason: Reason = "cancelled") -> None:
        self.sampler.cancel(request, at, reason)

    def step(self, *, wait: bool) -> Sequence[Event]:
        """What has come for this share since it was last asked; the sampler is stepped if nothing has.

        `wait` changes nothing: who steps the shares rests when none of them makes progress.
        """
        if not self.inbox:
            self._shares.step(self)
        events, self.inbox = self.inbox, []
        return events

    def watch(self, stop: Callable[[], bool]) -> None:
        """As `Interruptible.watch`, while the sampler is stepped on this share's behalf."""
        self.stop = stop

    def close(self) -> None:
        self._shares.leave(self)


def _never() -> bool:
    return False

"""Draw once, for all that ask: a Sampler that gives equal requests of several strategies the same branch.

Requests are equal when all that decides their tokens is equal: prompt, parameters, prefix, sample, parent and place of
the fork. Each gets its own events and its own account. One that comes late is told at once what is there already. A
branch is stopped when nobody follows it any more; who asks for it afterwards has it drawn anew.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from lite.ledger import Ledger
from lite.record import Encoder
from lite.sampler import Ability, Chunk, Event, Finished, Reason, Request, Sampler, Traits
from lite.strategies.branches import Branch

__all__ = ["SharedSampler", "Stem", "branch_key", "plain_request", "stem_chunk", "stream_key"]


def plain_request(request: Request) -> dict[str, object]:
    """The request as JSON takes it, but for its parent. `at` stays."""
    alone = replace(request, parent=None)
    (plain,) = Encoder().commands([alone])
    del plain["request"], plain["parent"]
    return plain


def branch_key(request: Request, parent_key: str | None) -> str:
    """24 hexadecimal digits that name a branch's tokens; how many top_logprobs are reported changes none of them."""
    return _hashed(replace(request, params=replace(request.params, top_logprobs=0)), parent_key)


def stream_key(request: Request, parent_key: str | None) -> str:
    """The same without the longest length: of two branches of one stream, the shorter begins the longer."""
    return _hashed(replace(request, params=replace(request.params, top_logprobs=0, max_tokens=1)), parent_key)


def _hashed(request: Request, parent_key: str | None) -> str:
    text = json.dumps([plain_request(request), parent_key], sort_keys=True, ensure_ascii=False)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


@dataclass(slots=True, eq=False)
class Stem:
    """One branch as it is really drawn, and who follows it."""

    key: str
    parent: "Stem | None"
    request: Request  # the one that the inner sampler knows
    drawn: Branch
    scored: Chunk | None = None  # the prefix's own tokens, where they were asked for
    followers: list[Request] = field(default_factory=list)
    leaving: Finished | None = None  # what the last follower is told once the branch has stopped

    @property
    def stream(self) -> str:
        return stream_key(self.request, self.parent.key if self.parent else None)

    @property
    def cost(self) -> Ledger:
        """As the inner sampler told it; empty until the branch has ended."""
        return self.drawn.finished.cost if self.drawn.finished else Ledger()

    @property
    def context(self) -> int:
        """Tokens of its context before the first that it drew."""
        return self.cost.prompt_tokens + self.cost.cached_tokens + self.cost.forced_tokens

    @property
    def is_over(self) -> bool:
        return self.drawn.finished is not None


class SharedSampler:
    """Implements `lite.sampler.Sampler` over another. `top_logprobs` is how many are drawn with at least.

    The account in a follower's Finished holds what its branch cost if the branch had been its own; a follower that
    leaves while others stay is told of its drawn tokens alone.
    """

    def __init__(self, inner: Sampler, *, top_logprobs: int = 0) -> None:
        self.num_sampled = 0  # tokens that the inner sampler has given
        self._inner = inner
        self._top_logprobs = top_logprobs
        self._stems: dict[str, Stem] = {}
        self._of: dict[Request, Stem] = {}  # by follower, until it is forgotten
        self._live: dict[Request, Stem] = {}  # by inner request
        self._pending: list[Event] = []

    @property
    def can(self) -> frozenset[Ability]:
        return self._inner.can

    @property
    def traits(self) -> Traits:
        return self._inner.traits

    def stem(self, request: Request) -> Stem | None:
        """The branch that a request follows or followed; None if it never started."""
        return self._of.get(request)

    def forget(self, requests: Iterable[Request]) -> None:
        """Let go of the branches of these requests: they are answered, and nobody will ask for them again."""
        for request in requests:
            stem = self._of.pop(request, None)
            if stem is not None and self._stems.get(stem.key) is stem and stem.is_over:
                del self._stems[stem.key]

    def start(self, requests: Sequence[Request]) -> None:
        followed: dict[Request, Stem] = {}
        made: dict[str, Stem] = {}
        new: list[Stem] = []
        for request in requests:
            parent = None if request.parent is None else followed.get(request.parent) or self._of[request.parent]
            key = branch_key(request, parent.key if parent else None)
            stem = self._known(key, request, parent) or _telling(made.get(key), request)
            if stem is None:
                stem = made[key] = self._stem(key, request, parent)
                new.append(stem)
            followed[request] = stem
        if new:
            self._inner.start([stem.request for stem in new])
        self._stems |= made
        self._live |= {stem.request: stem for stem in new}
        self._of |= followed
        for request, stem in followed.items():
            self._follow(request, stem)

    def cancel(self, request: Request, at: int | None = None, reason: Reason = "cancelled") -> None:
        stem = self._of.get(request)
        if stem is None or request not in stem.followers:
            return
        stem.followers.remove(request)
        given = stem.drawn.tokens
        used = given if at is None else min(at, given)
        finished = Finished(request, reason, Ledger(drawn_tokens=used, discarded_tokens=given - used, branches=1))
        if stem.followers:
            self._pending.append(finished)
            return
        stem.leaving = finished
        self._stems.pop(stem.key, None)
        self._inner.cancel(stem.request, None, reason)

    def step(self, *, wait: bool) -> Sequence[Event]:
        events, self._pending = self._pending, []
        if self._live:
            for event in self._inner.step(wait=wait and not events):
                events.extend(self._spread(event))
        return events

    def close(self) -> None:
        self._inner.close()

    def _known(self, key: str, request: Request, parent: Stem | None) -> Stem | None:
        """The branch that is there already, if it tells enough and is of the very parent that a fork means."""
        stem = self._stems.get(key)
        return _telling(stem, request) if stem is not None and stem.parent is parent else None

    def _stem(self, key: str, request: Request, parent: Stem | None) -> Stem:
        top = max(request.params.top_logprobs, self._top_logprobs if "top" in self.can else 0)
        params = replace(request.params, top_logprobs=top)
        inner = replace(request, params=params, parent=parent.request if parent else None)
        return Stem(key, parent, inner, Branch(inner))

    def _follow(self, request: Request, stem: Stem) -> None:
        """Tell a late follower all that there is."""
        if stem.scored is not None:
            self._pending.append(_for(request, stem.scored))
        if stem.drawn.ids:
            self._pending.append(_for(request, stem_chunk(stem)))
        if stem.drawn.finished is not None:
            self._pending.append(replace(stem.drawn.finished, request=request))
        else:
            stem.followers.append(request)

    def _spread(self, event: Event) -> list[Event]:
        """What the followers are told of an event of the inner sampler."""
        stem = self._live.get(event.request)
        if stem is None:
            return []
        if isinstance(event, Chunk):
            return self._grown(stem, event)
        stem.drawn.add(event)
        del self._live[event.request]
        if stem.leaving is not None:
            left = stem.leaving
            own = replace(event.cost, drawn_tokens=left.cost.drawn_tokens, discarded_tokens=left.cost.discarded_tokens)
            return [replace(left, cost=own)]
        followers, stem.followers = stem.followers, []
        return [replace(event, request=request) for request in followers]

    def _grown(self, stem: Stem, chunk: Chunk) -> list[Event]:
        if chunk.start < 0:
            stem.scored = chunk
        else:
            stem.drawn.add(chunk)
            self.num_sampled += len(chunk.ids)
        return [_for(request, chunk) for request in stem.followers]


def _telling(stem: Stem | None, request: Request) -> Stem | None:
    """The branch, if it tells as many of the likeliest tokens as are asked for."""
    enough = stem is not None and stem.request.params.top_logprobs >= request.params.top_logprobs
    return stem if enough else None


def _for(request: Request, chunk: Chunk) -> Chunk:
    """The chunk as a follower's own, with as many of the likeliest tokens as it asked for."""
    most = request.params.top_logprobs
    top = tuple(best[:most] for best in chunk.top) if most else ()
    return replace(chunk, request=request, top=top)


def stem_chunk(stem: Stem) -> Chunk:
    """All that the branch has drawn so far."""
    drawn = stem.drawn
    return Chunk(
        drawn.request,
        0,
        tuple(drawn.ids),
        tuple(drawn.texts),
        tuple(drawn.logprobs),
        tuple(drawn.entropy),
        tuple(drawn.certainty),
        tuple(drawn.top),
    )

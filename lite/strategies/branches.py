"""The sub-flow that every strategy of N samples shares: draw branches, and hold what each has said and how surely.

    branches = yield from draw(requests_of(question, samples=16, params=params))

The tokens are put together by position, so chunk sizes and the order of arrival change nothing.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from lite.errors import BackendError
from lite.params import SamplingParams
from lite.sampler import Chunk, Command, Event, Finished, Question, Reason, Request

__all__ = ["Branch", "Branches", "draw", "requests_of"]


@dataclass(slots=True, eq=False)
class Branch:
    """A request's completion so far. Lists hold one value a token, or nothing where the sampler cannot tell."""

    request: Request
    ids: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)  # nats
    entropy: list[float] = field(default_factory=list)  # nats
    certainty: list[float] = field(default_factory=list)  # nats
    top: list[tuple[tuple[int, float], ...]] = field(default_factory=list)  # the likeliest (id, log-probability)
    finished: Finished | None = None

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def tokens(self) -> int:
        """Drawn tokens, the end of turn among them."""
        return len(self.ids)

    @property
    def reason(self) -> Reason:
        return self.finished.reason if self.finished else "cancelled"

    @property
    def mean_logprob(self) -> float | None:
        """Over the drawn tokens; None without any."""
        return _mean(self.logprobs)

    @property
    def mean_certainty(self) -> float | None:
        """Over the drawn tokens, each scored by the distribution it was drawn from (arXiv:2502.18581, eq. 9)."""
        return _mean(self.certainty)

    def add(self, event: Event) -> None:
        """Take in an event of this branch. A scored prefix, at positions below 0, is no part of the completion."""
        if isinstance(event, Finished):
            self.finished = event
            return
        known = self.tokens - event.start
        if known < 0:
            raise BackendError(f"sample {self.request.sample}: tokens {self.tokens} to {event.start - 1} never arrived")
        self._extend(event, known)

    def _extend(self, chunk: Chunk, known: int) -> None:
        self.ids.extend(chunk.ids[known:])
        self.texts.extend(chunk.texts[known:])
        self.logprobs.extend(chunk.logprobs[known:])
        self.entropy.extend(chunk.entropy[known:])
        self.certainty.extend(chunk.certainty[known:])
        self.top.extend(chunk.top[known:])


Branches: TypeAlias = Generator[Sequence[Command], Sequence[Event], tuple[Branch, ...]]


def requests_of(question: Question, *, samples: int, params: SamplingParams, sampler: str) -> tuple[Request, ...]:
    """N samples of the question's prompt; sample i draws the same whatever N is."""
    return tuple(Request(question.prompt, params, sample=i, sampler=sampler) for i in range(samples))


def draw(requests: Sequence[Request]) -> Branches:
    """Draw every request to its end. Returns the branches in the order of the requests."""
    branches = {request: Branch(request) for request in requests}
    commands: Sequence[Command] = tuple(requests)
    while any(branch.finished is None for branch in branches.values()):
        events = yield commands
        commands = ()
        for event in events:
            if event.request in branches:
                branches[event.request].add(event)
    return tuple(branches.values())


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None

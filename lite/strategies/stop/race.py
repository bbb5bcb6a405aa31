"""Branches race to a line: the order is by tokens, then by number, never by time.

At token position t it is known which branches have crossed by t as soon as every other one has drawn t tokens. What
is decided when a branch crosses is decided at its position: the others are stopped there, wherever they have got to.
"""

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple, TypeAlias

from lite.sampler import Cancel, Command, Event, Request
from lite.strategies.branches import Branch
from lite.strategies.stop.cuts import cut

__all__ = ["Enough", "Finish", "Rule", "ended", "never", "race"]

Rule: TypeAlias = Callable[[Branch], int | None]
"""A position in a branch, once it is known and from then on: it must not depend on the tokens that follow it."""

Enough: TypeAlias = Callable[[Sequence[Branch], Sequence[int], int], bool]
"""Whether the race is over: all branches, the numbers of those that have crossed, and the position of the last."""


class Finish(NamedTuple):
    """How a race ended."""

    branches: tuple[Branch, ...]  # in the order of the requests; those that were stopped end where they were
    crossed: tuple[int, ...]  # the numbers of the branches that crossed the line in time, in order


def ended(branch: Branch) -> int | None:
    """The line at a branch's own end."""
    return branch.tokens if branch.finished else None


def never(branch: Branch) -> int | None:
    """No position."""
    return None


def race(
    requests: Sequence[Request], enough: Enough, *, line: Rule = ended, cut_off: Rule = never
) -> Generator[Sequence[Command], Sequence[Event], Finish]:
    """Draw until enough branches have crossed the line; those then go on to their end, the others are stopped.

    A branch whose `cut_off` is known before it ends is stopped there, which counts as its end.
    """
    course = _Course(requests, enough, line, cut_off)
    commands: Sequence[Command] = tuple(requests)
    while commands or course.is_open:
        events = yield commands
        for event in events:
            if event.request in course.numbers:
                course.branches[course.numbers[event.request]].add(event)
        commands = course.react()
    return course.finish()


class _Course:
    """The state of one race."""

    def __init__(self, requests: Sequence[Request], enough: Enough, line: Rule, cut_off: Rule) -> None:
        self.numbers = {request: number for number, request in enumerate(requests)}
        self.branches = [Branch(request) for request in requests]
        self._enough = enough
        self._line = line
        self._cut_off = cut_off
        self._crossings: dict[int, int] = {}
        self._stops: dict[int, int] = {}
        self._crossed: list[int] = []
        self._decided = False

    @property
    def is_open(self) -> bool:
        """Whether a branch is still to be waited for."""
        return any(b.finished is None and i not in self._stops for i, b in enumerate(self.branches))

    def react(self) -> list[Command]:
        """Look at what has come, and tell whom to stop."""
        if self._decided:
            return []
        before = dict(self._stops)
        for i, branch in enumerate(self.branches):
            self._look_at(i, branch)
        while not self._decided and (following := self._next()) is not None:
            self._crossed.append(following)
            self._decided = self._enough(self.branches, self._crossed, self._crossings[following])
        if self._decided:
            self._stop_the_rest(self._crossings[self._crossed[-1]])
        return [Cancel(self.branches[i].request, at) for i, at in self._stops.items() if before.get(i) != at]

    def finish(self) -> Finish:
        branches = (cut(b, self._stops[i]) if i in self._stops else b for i, b in enumerate(self.branches))
        return Finish(tuple(branches), tuple(self._crossed))

    def _look_at(self, i: int, branch: Branch) -> None:
        if i in self._crossings:
            return
        stop = self._cut_off(branch)
        if stop is not None and stop < branch.tokens:
            self._stops[i] = self._crossings[i] = stop
        elif (position := self._line(branch)) is not None:
            self._crossings[i] = position

    def _next(self) -> int | None:
        """The next to cross; None where a branch might still come before it."""
        contenders = [
            (self._crossings.get(i, branch.tokens), i)
            for i, branch in enumerate(self.branches)
            if i not in self._crossed and (i in self._crossings or branch.finished is None)
        ]
        first = min(contenders, default=None)
        return first[1] if first and first[1] in self._crossings else None

    def _stop_the_rest(self, at: int) -> None:
        for i, branch in enumerate(self.branches):
            if i not in self._crossed and branch.tokens >= at:  # a shorter one has ended without crossing
                self._stops[i] = min(at, self._stops.get(i, at))

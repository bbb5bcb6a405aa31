"""Around any strategy: its branches are turned where a rule says so, and it sees each as one unbroken branch.

A turn keeps a branch's first tokens and goes on from there with a forced text, as a fork. The strategy inside knows
nothing of it: its requests, chunks and cancels are translated. Forks that it makes itself are left as they are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from lite.params import SamplingParams
from lite.sampler import Answer, Cancel, Chunk, Command, Event, Flow, Request
from lite.strategies.branches import Branch

__all__ = ["Director", "Turn", "redirected"]


class Turn(NamedTuple):
    """Go on from a stretch's first `at` tokens, with a forced text."""

    at: int
    prefix: str
    params: SamplingParams
    said: str | None = None  # how the forced text, and what was hidden before it, reads; None: as `prefix`


class Director(Protocol):
    """Decides on the turns of one branch. It is shown one stretch at a time, and keeps what it has to remember."""

    def turn(self, stretch: Branch) -> Turn | None:
        """Where the stretch turns, once that is certain: it must not depend on the tokens that follow."""

    def settled(self, stretch: Branch) -> int:
        """How many of the stretch's tokens no later turn will take away."""


@dataclass(slots=True, eq=False)
class _Stretch:
    """A part of a branch: from one turn to the next."""

    branch: Branch
    start: int  # tokens of the whole branch before it
    said: str  # forced text before its first token
    kept: int | None = None  # its tokens up to the turn


@dataclass(slots=True, eq=False)
class _Course:
    """One branch as the inner strategy knows it, and the stretches that it is made of."""

    request: Request  # the inner strategy's
    director: Director | None
    stretches: list[_Stretch] = field(default_factory=list)
    shown: int = 0
    is_cancelled: bool = False
    is_over: bool = False

    @property
    def last(self) -> _Stretch:
        return self.stretches[-1]

    def react(self) -> list[Command]:
        """Turn where that is due."""
        last = self.last
        turn = None if self.director is None or self.is_cancelled else self.director.turn(last.branch)
        if turn is None:
            return []
        last.kept = turn.at
        old = last.branch.request
        new = replace(old, params=turn.params, prefix=turn.prefix, parent=old, at=turn.at, score=False)
        said = turn.prefix if turn.said is None else turn.said
        self.stretches.append(_Stretch(Branch(new), last.start + turn.at, said))
        return [new, Cancel(old, turn.at)]

    def tell(self) -> Iterator[Event]:
        """What the inner strategy may see now and has not seen."""
        for stretch in self.stretches:
            if not self.is_cancelled:
                yield from self._chunks(stretch)
        finished = self.last.branch.finished
        if finished and not self.is_over:
            self.is_over = True
            yield replace(finished, request=self.request)

    def source(self, at: int) -> tuple[Request, int]:
        """The request that drew the branch's first `at` tokens to their end, and how many of them are its own."""
        stretch = next(s for s in reversed(self.stretches) if s.start < at or s is self.stretches[0])
        return stretch.branch.request, at - stretch.start

    def cancels(self, at: int | None) -> list[Cancel]:
        """Stop the branch; of every stretch the tokens from `at` on were drawn past the decision."""
        self.is_cancelled = True
        if at is None:
            return [Cancel(self.last.branch.request)]
        return [
            Cancel(s.branch.request, max(0, min(at - s.start, s.branch.tokens if s.kept is None else s.kept)))
            for s in self.stretches
        ]

    def _chunks(self, stretch: _Stretch) -> Iterator[Chunk]:
        branch = stretch.branch
        if stretch.kept is not None:
            end = stretch.kept
        elif self.director is None or branch.finished:
            end = branch.tokens
        else:
            end = self.director.settled(branch)
        begin = self.shown - stretch.start
        if begin >= end:
            return
        span = slice(begin, end)
        texts = branch.texts[span]
        if begin == 0:
            texts[0] = stretch.said + texts[0]
        yield Chunk(
            self.request,
            self.shown,
            tuple(branch.ids[span]),
            tuple(texts),
            tuple(branch.logprobs[span]),
            tuple(branch.entropy[span]),
            tuple(branch.certainty[span]),
            tuple(branch.top[span]),
        )
        self.shown += end - begin


def redirected(flow: Flow, begin: Callable[[Request], tuple[Request, Director]]) -> Flow:
    """The flow, with each of its new branches drawn as `begin` says. Candidates come under their first request."""
    courses: dict[Request, _Course] = {}  # by the inner strategy's request
    drawing: dict[Request, _Course] = {}  # by the request that is drawn
    passed: list[Event] = []  # a scored prefix, as it is

    def outward(command: Command) -> list[Command]:
        if isinstance(command, Cancel):
            return [*courses[command.request].cancels(command.at)]
        if command.parent is None:
            request, director = begin(command)
            course = _Course(command, director)
        else:
            parent, at = courses[command.parent].source(command.at)
            request = replace(command, parent=parent, at=at)
            course = _Course(command, None)
        course.stretches.append(_Stretch(Branch(request), 0, ""))
        courses[command] = drawing[request] = course
        return [request]

    def take(event: Event) -> None:
        course = drawing.get(event.request)
        if course is None or event.request is not course.last.branch.request:
            return
        if isinstance(event, Chunk) and event.start < 0:
            passed.append(replace(event, request=course.request))
        course.last.branch.add(event)

    try:
        asked: Sequence[Command] = next(flow)
        commands = [command for each in asked for command in outward(each)]
        while True:
            events = yield commands
            for event in events:
                take(event)
            commands = [command for course in courses.values() if not course.is_over for command in course.react()]
            for command in commands:
                if isinstance(command, Request) and command.parent is not None:
                    drawing[command] = drawing[command.parent]
            told = [*passed, *(event for course in courses.values() for event in course.tell())]
            passed.clear()
            if told or not (events or commands):
                commands += [command for each in flow.send(told) for command in outward(each)]
    except StopIteration as stop:
        answer: Answer = stop.value
        first = {request: course.stretches[0].branch.request for request, course in courses.items()}
        renamed = (replace(candidate, request=first[candidate.request]) for candidate in answer.candidates)
        return replace(answer, candidates=tuple(renamed))
    finally:
        flow.close()

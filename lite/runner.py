"""Drives many flows over several samplers: one tick steps every busy sampler once and lets every flow react.

All branches that the flows ask for in one tick reach each sampler as one list, so that an engine reads a shared
prompt once and keeps its batch full.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias, overload

from lite.budget import Budget
from lite.errors import BackendError, Interrupted, LiteError, Unsupported
from lite.record import Record
from lite.sampler import Ability, Answer, Event, Finished, Interruptible, Question, Request, Sampler, Strategy
from lite.task import Task

__all__ = ["Budget", "Outcome", "Tick", "drive", "run"]

Outcome: TypeAlias = Answer | LiteError
"""What became of a question: its answer, or the error that ended it without harm to the others."""

_Job: TypeAlias = tuple[Strategy, Question]

_SHORTEST_REST = 0.0005  # seconds without an event from several samplers before they are polled again; doubles
_LONGEST_REST = 0.02


@dataclass(frozen=True, slots=True)
class Tick:
    """What happened in one tick, by the question's index: the events its flow was given, and how it ended."""

    events: Mapping[int, tuple[Event, ...]]
    outcomes: Mapping[int, Outcome]


@overload
def run(
    strategy: Strategy | Sequence[Strategy],
    questions: Iterable[Question],
    samplers: Mapping[str, Sampler],
    *,
    budget: Budget | None = None,
    record: MutableMapping[int, Record] | None = None,
    concurrency: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
    return_errors: Literal[False] = False,
) -> list[Answer]: ...
@overload
def run(
    strategy: Strategy | Sequence[Strategy],
    questions: Iterable[Question],
    samplers: Mapping[str, Sampler],
    *,
    budget: Budget | None = None,
    record: MutableMapping[int, Record] | None = None,
    concurrency: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
    return_errors: Literal[True],
) -> list[Outcome]: ...
def run(
    strategy: Strategy | Sequence[Strategy],
    questions: Iterable[Question],
    samplers: Mapping[str, Sampler],
    *,
    budget: Budget | None = None,
    record: MutableMapping[int, Record] | None = None,
    concurrency: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
    return_errors: bool = False,
) -> list[Answer] | list[Outcome]:
    """Answer every question; answers come in the questions' order.

    The first error stops the run and is raised, unless `return_errors` puts each question's own in its place. The
    other arguments, and what else is raised, are those of `drive`.
    """
    outcomes: dict[int, Outcome] = {}
    ticks = drive(strategy, questions, samplers, budget=budget, record=record, concurrency=concurrency, clock=clock)
    with closing(ticks):
        for tick in ticks:
            outcomes.update(tick.outcomes)
            for outcome in tick.outcomes.values():
                if isinstance(outcome, LiteError) and not return_errors:
                    raise outcome
    return [outcomes[index] for index in sorted(outcomes)]


def drive(
    strategy: Strategy | Sequence[Strategy],
    questions: Iterable[Question],
    samplers: Mapping[str, Sampler],
    *,
    budget: Budget | None = None,
    record: MutableMapping[int, Record] | None = None,
    concurrency: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
    stop: Callable[[], bool] | None = None,
    rest: Callable[[float], None] = time.sleep,
) -> Generator[Tick, None, None]:
    """Yield after every tick what happened, until every question has its outcome.

    Closing the iterator cancels every live branch on every sampler at once. `strategy` is one for all questions or
    a sequence of one for each; `budget` is each question's own; `record` gains a Record under each question's index;
    `concurrency` is how many questions are under way at once (None: all), read from `questions` as others end.
    `clock` tells seconds. `stop` is asked in the middle of a long step, from any thread: True raises Interrupted.
    `rest` is called with seconds where several samplers are busy and nothing came.

    Raises Unsupported, before a token is drawn, when a strategy needs what its sampler cannot do, and ValueError
    when the strategies are not as many as the questions. A LiteError that concerns one question is its outcome. Any
    other exception, such as a strategy's own, is raised from the iterator after all branches are cancelled. A
    sampler serves one `drive` at a time.
    """
    if concurrency is not None and concurrency < 1:
        raise ValueError(f"concurrency must be at least 1 or None, got {concurrency!r}")
    strategies = strategy if isinstance(strategy, Sequence) else (strategy,)
    for each in strategies:
        _check_needs(each, samplers)
    jobs = _paired(strategy, questions)
    return _Runner(jobs, samplers, budget or Budget(), record, concurrency, clock, stop or _never, rest).ticks()


class _Runner:
    """The state of one `drive`."""

    def __init__(
        self,
        jobs: Iterator[_Job],
        samplers: Mapping[str, Sampler],
        budget: Budget,
        record: MutableMapping[int, Record] | None,
        concurrency: int | None,
        clock: Callable[[], float],
        stop: Callable[[], bool],
        rest: Callable[[float], None],
    ) -> None:
        self._jobs = enumerate(jobs)
        self._samplers = samplers
        self._budget = budget
        self._record = record
        self._concurrency = concurrency
        self._clock = clock
        self._stop = stop
        self._rest = rest
        self._tasks: dict[int, Task] = {}  # whose outcome is not yet told
        self._owners: dict[str, dict[Request, Task]] = {name: {} for name in samplers}  # of live branches
        self._idle_rounds = 0

    def ticks(self) -> Generator[Tick, None, None]:
        try:
            self._watch()
            while self._admit():
                self._start_all()
                self._stop_all()
                touched = self._step_all()
                self._pump_all(touched)
                yield self._report()
        finally:
            self._abandon()

    def _watch(self) -> None:
        """Let long steps end when nobody waits for them any more."""
        for name, sampler in self._samplers.items():
            if isinstance(sampler, Interruptible):
                sampler.watch(partial(self._must_stop, name))

    def _must_stop(self, name: str) -> bool:
        """Whether the drive is to stop, or every question with a branch at the sampler is past its time."""
        if self._stop():
            return True
        return self._budget.seconds is not None and all(task.overdue for task in set(self._owners[name].values()))

    def _admit(self) -> bool:
        """Begin as many questions as may be under way; False when there is none."""
        while self._concurrency is None or len(self._tasks) < self._concurrency:
            job = next(self._jobs, None)
            if job is None:
                break
            index, (strategy, question) = job
            self._tasks[index] = task = self._task(index, strategy, question)
            task.begin()
        return bool(self._tasks)

    def _task(self, index: int, strategy: Strategy, question: Question) -> Task:
        models = {name: sampler.traits for name, sampler in self._samplers.items()}
        flow = strategy(replace(question, models=models))
        if self._record is None:
            return Task(index, flow, self._budget, self._clock, None)
        self._record[index] = Record(models=models)
        return Task(index, flow, self._budget, self._clock, self._record[index].exchanges)

    def _start_all(self) -> None:
        batches: dict[str, dict[Task, list[Request]]] = {name: {} for name in self._samplers}
        for task in self._tasks.values():
            for request in self._admissible(task):
                batches[request.sampler].setdefault(task, []).append(request)
        for name, batch in batches.items():
            self._start(name, batch)

    def _admissible(self, task: Task) -> Sequence[Request]:
        """The task's new requests; none, and the task has failed, when a sampler cannot serve one of them."""
        requests, task.starts = task.starts, []
        try:
            for request in requests:
                _check(f"a request to sampler {request.sampler!r}", request.sampler, _used(request), self._samplers)
        except LiteError as error:
            task.fail(error)
            return ()
        return requests

    def _start(self, name: str, batch: Mapping[Task, Sequence[Request]]) -> None:
        """Start the batch as one list; when that is refused, each task's part, to find whose fault it is."""
        batch = {task: requests for task, requests in batch.items() if task.outcome is None}
        if not batch:
            return
        try:
            self._samplers[name].start([request for requests in batch.values() for request in requests])
        except LiteError as error:
            self._refused(name, batch, error)
            return
        for task, requests in batch.items():
            for request in requests:
                self._owners[name][request] = task
                task.started(request)

    def _refused(self, name: str, batch: Mapping[Task, Sequence[Request]], error: LiteError) -> None:
        if len(batch) == 1:
            next(iter(batch)).fail(error)
            return
        for task, requests in batch.items():
            self._start(name, {task: requests})

    def _stop_all(self) -> None:
        for task in self._tasks.values():
            stops, task.stops = task.stops, []
            for stop in stops:
                if stop.request in task.live:
                    self._samplers[stop.request.sampler].cancel(stop.request, stop.at, stop.reason)

    def _step_all(self) -> set[Task]:
        """Step every busy sampler once; the tasks that something came for. Rests when nothing came from several."""
        busy = [name for name, owned in self._owners.items() if owned]
        wait = len(busy) == 1 and self._budget.seconds is None
        touched: set[Task] = set()
        for name in busy:
            touched |= self._step(name, wait)
        self._idle_rounds = 0 if touched or wait or not busy else self._idle_rounds + 1
        if self._idle_rounds:
            self._rest(min(_LONGEST_REST, _SHORTEST_REST * 2 ** min(self._idle_rounds, 16)))
        return touched

    def _step(self, name: str, wait: bool) -> set[Task]:
        try:
            events = self._samplers[name].step(wait=wait)
        except Interrupted:
            if self._stop():
                raise
            return set()
        except LiteError as error:
            return self._lose(name, error)
        touched = set()
        for event in events:
            task = self._owner(name, event)
            if task is not None:
                task.receive(event)
                touched.add(task)
        return touched

    def _owner(self, name: str, event: Event) -> Task | None:
        """None for what is left over from an earlier, closed drive."""
        if isinstance(event, Finished):
            return self._owners[name].pop(event.request, None)
        return self._owners[name].get(event.request)

    def _lose(self, name: str, error: LiteError) -> set[Task]:
        """The sampler has failed: so have all flows with a branch there."""
        failure = error
        if not isinstance(error, BackendError):
            failure = BackendError(f"sampler {name!r} failed: {error}")
            failure.__cause__ = error
        lost, self._owners[name] = self._owners[name], {}
        for request in lost:
            with suppress(LiteError):
                self._samplers[name].cancel(request)
        for task in dict.fromkeys(lost.values()):
            task.lose(name, failure)
        return set(lost.values())

    def _pump_all(self, touched: set[Task]) -> None:
        for task in self._tasks.values():
            if task in touched or self._budget.seconds is not None:
                task.pump()

    def _report(self) -> Tick:
        events: dict[int, tuple[Event, ...]] = {}
        outcomes: dict[int, Outcome] = {}
        for index, task in list(self._tasks.items()):
            if task.sent:
                events[index], task.sent = tuple(task.sent), []
            if task.settled:
                outcomes[index] = self._tasks.pop(index).settle()
        return Tick(events, outcomes)

    def _abandon(self) -> None:
        """Cancel whatever is live and end every flow, even when one of these fails."""
        with ExitStack() as stack:
            for sampler in self._samplers.values():
                if isinstance(sampler, Interruptible):
                    stack.callback(sampler.watch, _never)
            for task in self._tasks.values():
                stack.callback(task.close)
            for name, owned in self._owners.items():
                for request in owned:
                    stack.callback(self._samplers[name].cancel, request)


def _never() -> bool:
    return False


def _paired(strategy: Strategy | Sequence[Strategy], questions: Iterable[Question]) -> Iterator[_Job]:
    if not isinstance(strategy, Sequence):
        return ((strategy, question) for question in questions)
    questions = tuple(questions)
    if len(strategy) != len(questions):
        raise ValueError(
            f"{len(strategy)} strategies for {len(questions)} questions: give one for each, or one for all"
        )
    return zip(strategy, questions, strict=True)


def _check_needs(strategy: Strategy, samplers: Mapping[str, Sampler]) -> None:
    for name, abilities in strategy.needs.items():
        _check(f"strategy {type(strategy).__name__}", name, abilities, samplers)


def _check(who: str, name: str, abilities: frozenset[Ability], samplers: Mapping[str, Sampler]) -> None:
    """Raise Unsupported unless the named sampler is there and can do all that is asked."""
    missing = abilities - samplers[name].can if abilities and name in samplers else abilities
    if name in samplers and not missing:
        return  # what the others can do is not asked: to know it, a remote one has to be called
    able = [repr(other) for other, sampler in samplers.items() if abilities <= sampler.can]
    others = f"of the given samplers, {', '.join(able)} could" if able else "none of the given samplers could"
    if name not in samplers:
        raise Unsupported(f"{who} needs a sampler named {name!r}, which is not given; {others} serve as it")
    what = ", ".join(repr(ability) for ability in sorted(missing))
    raise Unsupported(f"{who} needs {what}, which sampler {name!r} cannot do; {others}")


def _used(request: Request) -> frozenset[Ability]:
    """The abilities that the request itself calls on."""
    abilities: list[tuple[Ability, bool]] = [
        ("prefix", bool(request.prefix)),
        ("fork", request.parent is not None),
        ("score", request.score),
        ("top", request.params.top_logprobs > 0),
    ]
    return frozenset(ability for ability, used in abilities if used)

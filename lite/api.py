"""The Python face: load a model, ask it, get a typed result. Safe to call from any thread and any event loop."""

import asyncio
import weakref
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from os import PathLike
from types import TracebackType
from typing import TypeAlias, Unpack

from lite.errors import LiteError
from lite.options import Asked, Options, check_names, make_question, make_strategy, name_of
from lite.results import Progress, Result
from lite.runner import Tick, drive
from lite.sampler import Answer, Chunk, Event, Request, Sampler, Strategy, Traits
from lite.worker import Job, Worker

__all__ = ["Model", "load", "solve"]

_Finish: TypeAlias = Callable[[list[Answer]], list[Result]]


def load(
    path: str | PathLike[str] | None = None,
    backend: str = "auto",
    *,
    format: str | None = None,  # noqa: A002  # what users call it
    samples: int = 16,
    context: int | None = None,
    threads: int | None = None,
) -> "Model":
    """Open a model: a GGUF file, the name of one that `lite ls` shows, or the embedded model.

    `samples` is how many are drawn at once, fewer where memory is short; the others wait for their turn. `context` is
    how many tokens prompt and answer may have together (None: the model's own limit, but 4096 at most), `format` how
    the engine keeps the weights (None: the engine's default). Raises ModelError, NotEnoughMemory before anything is
    loaded, MissingExtra and UsageError, and ValueError for a number below 1.
    """
    from lite.registry import open_sampler

    opened = open_sampler(path, backend, format=format, num_slots=samples, context_length=context, threads=threads)
    return Model(opened.sampler, name=opened.name, engine=opened.engine, format=opened.format)


def solve(question: Asked, strategy: str | Strategy = "self-certainty", **options: Unpack[Options]) -> Result:
    """Ask the embedded model one question. Load a Model to ask more than one, or another."""
    with load() as model:
        return model.solve(question, strategy, **options)


class Model:
    """A loaded model. It owns its sampler, which runs in a thread of the model's own: one call after the other.

    Calls raise ValueError for settings out of range, UsageError and its kin for what cannot be (also once the model
    is closed), BackendError when the engine fails; the model stays usable after each of them, and after a
    KeyboardInterrupt.
    """

    def __init__(self, sampler: Sampler, *, name: str, engine: str, format: str) -> None:  # noqa: A002
        self._sampler = sampler
        self._traits = sampler.traits
        self._name = name
        self._engine = engine
        self._format = format
        self._worker = Worker(sampler.close)
        self._close = weakref.finalize(self, self._worker.close)  # also when it is collected, and at exit

    @property
    def name(self) -> str:
        return self._name

    @property
    def engine(self) -> str:
        """Which backend draws: "onnx", ..."""
        return self._engine

    @property
    def format(self) -> str:
        """Of the weights as computed with: "f32", "int8-row", ..."""
        return self._format

    @property
    def traits(self) -> Traits:
        """The model's think tags."""
        return self._traits

    def solve(self, question: Asked, strategy: str | Strategy = "self-certainty", **options: Unpack[Options]) -> Result:
        """Answer one question."""
        return self.solve_many([question], strategy, **options)[0]

    def solve_many(
        self, questions: Iterable[Asked], strategy: str | Strategy = "self-certainty", **options: Unpack[Options]
    ) -> list[Result]:
        """Answer questions together, in one batch; results in their order. The first error ends them all."""
        job, finish = self._prepare(questions, strategy, options, keep_updates=False)
        self._worker.submit(job)
        return finish(job.wait())

    def stream(
        self, question: Asked, strategy: str | Strategy = "self-certainty", **options: Unpack[Options]
    ) -> Generator[Progress | Result, None, None]:
        """Answer one question, telling the progress of each sample as it comes and the Result at the end.

        The drawing begins with the first `next` and does not wait for a slow reader. Closing the iterator, or
        leaving it to be collected, stops it within a step and frees its memory.
        """
        job, finish = self._prepare([question], strategy, options, keep_updates=True)
        return self._stream(job, finish)

    async def asolve(
        self, question: Asked, strategy: str | Strategy = "self-certainty", **options: Unpack[Options]
    ) -> Result:
        """`solve` for an event loop. Cancelling the task stops the drawing within a step and frees its memory."""
        job, finish = self._prepare([question], strategy, options, keep_updates=False)
        self._worker.submit(job)
        try:
            return finish(await asyncio.wrap_future(job.outcome))[0]
        finally:
            job.cancel()

    def close(self) -> None:
        """Stop what is under way, refuse what waits, and free the memory; idempotent."""
        self._close()

    def __enter__(self) -> "Model":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(
        self, asked: Iterable[Asked], strategy: str | Strategy, options: Options, *, keep_updates: bool
    ) -> tuple[Job[Tick, list[Answer]], _Finish]:
        check_names(options)
        questions = [make_question(one, options) for one in asked]
        made = make_strategy(strategy, options)
        name = name_of(strategy)
        sampler, budget = self._sampler, options.get("budget")

        def work() -> Generator[Tick, None, list[Answer]]:
            return _answers(drive(made, questions, {"local": sampler}, budget=budget))

        def finish(answers: list[Answer]) -> list[Result]:
            return [self._result(answer, name) for answer in answers]

        return Job(work, keep_updates=keep_updates), finish

    def _result(self, answer: Answer, strategy: str) -> Result:
        return Result.of(answer, strategy=strategy, model=self._name, engine=self._engine, format=self._format)

    def _stream(self, job: Job[Tick, list[Answer]], finish: _Finish) -> Generator[Progress | Result, None, None]:
        self._worker.submit(job)
        reader = _ProgressReader()
        with closing(job.updates()) as ticks:
            for tick in ticks:
                for event in tick.events.get(0, ()):
                    yield reader.read(event)
        yield finish(job.outcome.result())[0]


class _ProgressReader:
    """Numbers a question's branches as they appear."""

    def __init__(self) -> None:
        self._branches: dict[Request, int] = {}
        self._tokens: dict[Request, int] = {}

    def read(self, event: Event) -> Progress:
        request = event.request
        text = ""
        if isinstance(event, Chunk) and event.start >= 0:
            text = "".join(event.texts)
            self._tokens[request] = event.start + len(event.ids)
        return Progress(
            branch=self._branches.setdefault(request, len(self._branches)),
            sample=request.sample,
            text=text,
            tokens=self._tokens.get(request, 0),
            reason=None if isinstance(event, Chunk) else event.reason,
        )


def _answers(ticks: Generator[Tick, None, None]) -> Generator[Tick, None, list[Answer]]:
    """Pass the ticks on and return the questions' answers, in order; the first error is raised."""
    answers: dict[int, Answer] = {}
    with closing(ticks):
        for tick in ticks:
            for index, outcome in tick.outcomes.items():
                if isinstance(outcome, LiteError):
                    raise outcome
                answers[index] = outcome
            yield tick
    return [answers[index] for index in sorted(answers)]

"""The Python face: load a model, ask it, get a typed result. Safe to call from any thread and any event loop."""

import asyncio
import weakref
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias, Unpack

from lite.config import cache_folder
from lite.errors import LiteError
from lite.options import Asked, Options, check_names, make_question, make_strategy, name_of, questions_at_once
from lite.results import Progress, Result
from lite.runner import Tick, drive
from lite.sampler import Answer, Chunk, Event, Finished, Request, Sampler, Strategy, Traits
from lite.shares import Shares
from lite.timings import Timings, automatic, load_timings, measure, save_timings
from lite.worker import Job, Worker

if TYPE_CHECKING:
    from lite.registry import RemoteConfig

__all__ = ["Model", "load", "solve"]


def load(
    path: str | PathLike[str] | None = None,
    backend: str = "auto",
    *,
    format: str | None = None,  # noqa: A002  # what users call it
    samples: int = 16,
    context: int | None = None,
    threads: int | None = None,
    remote: "RemoteConfig | None" = None,
    prompt_cache: int | None = None,
    mesh: str = "",
) -> "Model":
    """Open a model: a GGUF file, a folder with an ONNX model, a name that `lite ls` shows, or the embedded model.

    `samples` is how many are drawn at once, fewer where memory is short; the others wait for their turn. `context` is
    how many tokens prompt and answer may have together (None: the model's own limit, but 4096 at most), `format` how
    the engine keeps the weights (None: the engine's default). `remote` is the server that strategies know as
    "remote": only those that name it ask it, such as "cascade". `prompt_cache` is how many bytes of the keys and
    values of long prompts are kept on the disk, for later processes with the same prompt; None keeps nothing.
    `mesh` splits rows and heads over devices where the engine can: "data=4,model=2". Raises
    ModelError, NotEnoughMemory before anything is loaded, MissingExtra and UsageError, and ValueError for a number
    below 1.
    """
    from lite.registry import open_remote, open_sampler

    with ExitStack() as on_failure:
        samplers: dict[str, Sampler] = {}
        if remote is not None:
            samplers["remote"] = open_remote(remote)
            on_failure.callback(samplers["remote"].close)
        opened = open_sampler(
            path,
            backend,
            format=format,
            num_slots=samples,
            context_length=context,
            threads=threads,
            prompt_cache=prompt_cache,
            mesh=mesh,
        )
        on_failure.pop_all()
    return Model(
        opened.sampler,
        name=opened.name,
        engine=opened.engine,
        format=opened.format,
        samplers=samplers,
        together=opened.batch_invariant,
        slots=opened.num_slots,
    )


def solve(question: Asked, strategy: str | Strategy = "self-certainty", **options: Unpack[Options]) -> Result:
    """Ask the embedded model one question. Load a Model to ask more than one, or another."""
    with load() as model:
        return model.solve(question, strategy, **options)


class Model:
    """A loaded model. It owns its samplers, which run in a thread of the model's own.

    `sampler` is what strategies know as "local"; `samplers` are others by name, such as "remote". Calls that are made
    at once share the batch, and change nothing in each other's answers; where they would (`together` is False, for a
    format that is not batch-invariant) they follow one after the other. `slots` is how many samples are drawn at
    once: as many questions of `solve_many` are under way as fill them (None: all).

    Calls raise ValueError for settings out of range, UsageError and its kin for what cannot be (also once the model
    is closed), BackendError when the engine fails; the model stays usable after each of them, and after a
    KeyboardInterrupt. A remote server that fails, or that the user's own rules keep a question from, is no error:
    what the other samplers drew is returned, `Result.failures` says what went wrong, and `Result.failure` is not empty
    where nothing at all was drawn.
    """

    def __init__(
        self,
        sampler: Sampler,
        *,
        name: str,
        engine: str,
        format: str,  # noqa: A002
        samplers: Mapping[str, Sampler] | None = None,
        together: bool = True,
        slots: int | None = None,
    ) -> None:
        if samplers and "local" in samplers:
            raise ValueError("samplers must not name 'local': that is the model's own")
        self._samplers = {"local": sampler, **(samplers or {})}
        self._traits = sampler.traits
        self._name = name
        self._engine = engine
        self._format = format
        self._together = together
        self._slots = slots
        self._shares = {name: Shares(sampler) for name, sampler in self._samplers.items()}
        self._worker = Worker(_closer(self._samplers.values()), _counter(self._shares.values()))
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
    ) -> tuple[Job[Tick, list["_Told"]], "_Finish"]:
        check_names(options)
        questions = [make_question(one, options) for one in asked]
        made = make_strategy(strategy, options)
        name = name_of(strategy)
        budget, is_auto = options.get("budget"), options.get("samples") == "auto"
        samplers, shares, path, worker = self._samplers, self._shares, self._timings_path, self._worker
        slots = self._slots

        def work() -> Generator[Tick, None, list[_Told]]:
            strategy = automatic(made, _timings(samplers["local"], path)) if is_auto else made
            with ExitStack() as stack:
                own = {name: stack.enter_context(closing(each.share())) for name, each in shares.items()}
                ticks = drive(
                    strategy,
                    questions,
                    own,
                    budget=budget,
                    concurrency=None if slots is None else questions_at_once(strategy, slots),
                    stop=worker.is_cancelled,
                    rest=worker.rest,
                )
                return (yield from _answers(ticks, samplers))

        def finish(answers: list[_Told]) -> list[Result]:
            return [self._result(told, name) for told in answers]

        return Job(work, keep_updates=keep_updates, alone=is_auto or not self._together), finish

    @property
    def _timings_path(self) -> Path:
        return cache_folder() / "timings" / f"{self._name}-{self._engine}-{self._format}.json"

    def _result(self, told: "_Told", strategy: str) -> Result:
        return Result.of(
            told.answer,
            strategy=strategy,
            model=self._name,
            engine=self._engine,
            format=self._format,
            failures=told.failures,
        )

    def _stream(self, job: Job[Tick, list["_Told"]], finish: "_Finish") -> Generator[Progress | Result, None, None]:
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


@dataclass(frozen=True, slots=True)
class _Told:
    """A question's answer, and why branches of it failed or were withheld."""

    answer: Answer
    failures: tuple[str, ...]


_Finish: TypeAlias = Callable[[list[_Told]], list[Result]]


def _timings(sampler: Sampler, path: Path) -> Timings:
    """Those in the cache, or measured now and put there."""
    timings = load_timings(path)
    if timings is None:
        timings = measure(sampler)
        save_timings(timings, path)
    return timings


def _answers(ticks: Generator[Tick, None, None], samplers: Mapping[str, Sampler]) -> Generator[Tick, None, list[_Told]]:
    """Pass the ticks on and return the questions' answers, in order; the first error is raised."""
    answers: dict[int, Answer] = {}
    failures: dict[int, list[str]] = {}
    with closing(ticks):
        for tick in ticks:
            for index, events in tick.events.items():
                failures.setdefault(index, []).extend(_failures(events, samplers))
            for index, outcome in tick.outcomes.items():
                if isinstance(outcome, LiteError):
                    raise outcome
                answers[index] = outcome
            yield tick
    return [_Told(answers[index], tuple(failures.get(index, ()))) for index in sorted(answers)]


def _failures(events: Iterable[Event], samplers: Mapping[str, Sampler]) -> Iterable[str]:
    """What the samplers say of branches that failed or were withheld."""
    for event in events:
        if isinstance(event, Finished) and event.reason in ("failed", "withheld"):
            name = event.request.sampler
            told: Mapping[Request, str] = getattr(samplers[name], "failures", {})
            yield f"{name}: {told.get(event.request) or event.reason}"


def _counter(shares: Iterable[Shares]) -> Callable[[], int]:
    """Counts the progress of all. It holds the shares, not the model."""
    held = tuple(shares)
    return lambda: sum(each.progress for each in held)


def _closer(samplers: Iterable[Sampler]) -> Callable[[], None]:
    """Closes all, even when one of them fails. It holds the samplers, not the model."""
    held = tuple(samplers)

    def close() -> None:
        with ExitStack() as stack:
            for sampler in held:
                stack.callback(sampler.close)

    return close

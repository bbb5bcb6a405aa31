"""The same evaluation over a Ray cluster: one actor holds one loaded model, and questions go to whoever is free.

The lines are those that one machine draws, for samples depend on their requests alone; this process writes them. An
actor that dies is started again and its questions are drawn anew. Nothing is reported to anybody: usage statistics are
switched off. Every node must have this package and the model file under the same path.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lite.errors import BackendError, LiteError, MissingExtra
from lite.evaluate.checking import Checker
from lite.evaluate.evaluation import Job
from lite.evaluate.log import Plain
from lite.evaluate.session import draw_lines, questions_at_once
from lite.sampler import Ability, Traits

if TYPE_CHECKING:
    from lite.registry import RemoteConfig

__all__ = ["Cluster", "Drawer"]

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
_START_SECONDS = 600.0  # for the first actor to load its model
_RETRIES = 3  # of an actor, and of a part that it did not finish


@dataclass(frozen=True, slots=True, kw_only=True)
class _Described:
    """What an actor has loaded, as `registry.OpenedModel` tells it, and what its samplers can do."""

    name: str
    engine: str
    format: str
    samplers: "Mapping[str, _Abilities]"


@dataclass(frozen=True, slots=True)
class _Abilities:
    can: frozenset[Ability]
    traits: Traits


class Drawer:
    """What runs in an actor: a loaded model that draws the lines of some jobs."""

    def __init__(self, model: str, backend: str, settings: Mapping[str, Any], remote: "RemoteConfig | None") -> None:
        from lite.registry import open_remote, open_sampler

        self._num_slots = int(settings["num_slots"])
        self._opened = open_sampler(model, backend, **settings)
        self._samplers = {"local": self._opened.sampler}
        if remote is not None:
            self._samplers["remote"] = open_remote(remote)
        self._checker = Checker()

    def describe(self) -> _Described:
        """What was loaded."""
        return _Described(
            name=self._opened.name,
            engine=self._opened.engine,
            format=self._opened.format,
            samplers={name: _Abilities(one.can, one.traits) for name, one in self._samplers.items()},
        )

    def draw(self, jobs: Sequence[Job], head: Plain, top_logprobs: int) -> list[Plain]:
        """All lines of these jobs."""
        parts = draw_lines(
            jobs,
            self._samplers,
            self._checker,
            num_slots=self._num_slots,
            head=head,
            top_logprobs=top_logprobs,
        )
        return [line for lines in parts for line in lines]


class Cluster:
    """Actors on a Ray cluster: `address` is "auto", "local" for one of its own, or host:port. A context manager."""

    def __init__(
        self,
        address: str,
        num_actors: int,
        model: Path,
        backend: str,
        settings: Mapping[str, Any],
        remote: "RemoteConfig | None" = None,
    ) -> None:
        """`remote` is opened in every actor, each of which must find its key."""
        if find_spec("ray") is None:
            raise MissingExtra("a Ray cluster", "ray")
        os.environ.update(_QUIET)
        ray: Any = import_module("ray")
        self._ray = ray
        self._num_slots = int(settings["num_slots"])
        self._began = not ray.is_initialized()
        if self._began:
            ray.init(
                address=None if address == "local" else address,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
            )
        actor = ray.remote(Drawer).options(max_restarts=_RETRIES, max_task_retries=_RETRIES, num_cpus=1)
        self._actors = [actor.remote(str(model.resolve()), backend, dict(settings), remote) for _ in range(num_actors)]
        self.opened: _Described = self._get(self._actors[0].describe.remote(), _START_SECONDS)

    @property
    def samplers(self) -> Mapping[str, _Abilities]:
        """What the actors' samplers can do, by name."""
        return self.opened.samplers

    def draw(
        self, jobs: Sequence[Job], head: Plain, *, top_logprobs: int, on_progress: Callable[[int, int], None]
    ) -> Generator[list[Plain], None, None]:
        """The lines of each part of the questions as it is done. `on_progress` is told answers and tokens."""
        left = deque(_parts(jobs, self._num_slots))
        idle = {actor.describe.remote(): actor for actor in self._actors}  # given work once they have answered
        busy: dict[Any, Any] = {}
        answers = tokens = 0
        while left or busy:
            done, _ = self._ray.wait([*busy, *idle] if left else list(busy))
            reference = done[0]
            lines: list[Plain] = self._get(reference) if reference in busy else []
            actor = busy.pop(reference, None) or idle.pop(reference)
            if left:
                busy[actor.draw.remote(left.popleft(), head, top_logprobs)] = actor
            answers += sum("answer" in line for line in lines)
            tokens += sum(len(line["ids"]) for line in lines if "branch" in line)
            on_progress(answers, tokens)
            yield lines

    def close(self) -> None:
        """Stop the actors, and Ray where it was started here."""
        for actor in self._actors:
            self._ray.kill(actor)
        if self._began:
            self._ray.shutdown()

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _get(self, reference: Any, timeout: float | None = None) -> Any:
        try:
            return self._ray.get(reference, timeout=timeout)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.as_instanceof_cause()
            if isinstance(cause, LiteError):
                raise type(cause)(str(error.cause)) from error
            raise BackendError(f"a Ray actor failed: {str(error).strip().splitlines()[-1]}") from error
        except self._ray.exceptions.GetTimeoutError as error:
            raise BackendError(f"no Ray node had a processor free for {timeout:.0f} s: add nodes, or wait") from error
        except self._ray.exceptions.RayError as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise BackendError(f"a Ray actor was lost more than {_RETRIES} times: {reason}") from error


def _parts(jobs: Sequence[Job], num_slots: int) -> list[list[Job]]:
    """The jobs in parts that keep an actor's batch full; all of a question are in one, so that they share samples."""
    by_question: dict[str, list[Job]] = {}
    for job in jobs:
        by_question.setdefault(job.item.id, []).append(job)
    entries = {job.entry.label: job.entry for job in jobs}.values()
    size = 2 * questions_at_once(entries, num_slots)
    questions = list(by_question.values())
    return [
        [job for each in questions[start : start + size] for job in each] for start in range(0, len(questions), size)
    ]

"""What was drawn where, and how two ways of drawing it compare."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from lite.backends.base import Backend, BackendSpec, Drawn, Row, Statistics
from lite.params import SamplingParams
from lite.sampler import Interruptible

__all__ = ["WIDE", "Draw", "Draws", "Key", "Recorder", "Report", "compare"]

WIDE = 1e-4  # nats

Key: TypeAlias = tuple[tuple[int, ...], tuple[int, int] | None, int]
"""The context that a token was drawn after, and the stream and its position, which a greedy draw has no need of."""


@dataclass(frozen=True, slots=True)
class Draw:
    """A token, and what it was drawn by."""

    token: int
    margin: float  # the race's lead, see Drawn
    logprob: float
    entropy: float
    certainty: float
    params: SamplingParams
    prompt_length: int


Draws: TypeAlias = dict[Key, Draw]


class Recorder:
    """A Backend that notes every draw of another."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.draws: Draws = {}

    @property
    def spec(self) -> BackendSpec:
        return self._backend.spec

    def step(self, rows: Sequence[Row], end_ids: frozenset[int]) -> Drawn:
        contexts = [tuple(row.context) for row in rows]  # they grow with what is drawn
        drawn = self._backend.step(rows, end_ids)
        for index, (row, context) in enumerate(zip(rows, contexts, strict=True)):
            for number in range(int(drawn.counts[index])):
                self._note(row, context, drawn, (index, number))
        return drawn

    def watch(self, stop: Callable[[], bool]) -> None:
        if isinstance(self._backend, Interruptible):
            self._backend.watch(stop)

    def extend(
        self, slot: int, start: int, ids: Sequence[int], targets: Sequence[int] | None = None, top: int = 0
    ) -> Statistics | None:
        return self._backend.extend(slot, start, ids, targets, top)

    def fork(self, source: int, target: int, length: int) -> None:
        self._backend.fork(source, target, length)

    def release(self, slot: int) -> None:
        self._backend.release(slot)

    def close(self) -> None:
        self._backend.close()

    def _note(self, row: Row, context: tuple[int, ...], drawn: Drawn, place: tuple[int, int]) -> None:
        index, number = place
        before = context + tuple(drawn.ids[index, :number].tolist())
        greedy = row.params.temperature == 0
        key = (before, None, 0) if greedy else (before, row.stream, row.drawn + number)
        told = drawn.statistics
        self.draws[key] = Draw(
            token=int(drawn.ids[place]),
            margin=float(drawn.margin[place]),
            logprob=float(told.logprob[place]),
            entropy=float(told.entropy[place]),
            certainty=float(told.certainty[place]),
            params=row.params,
            prompt_length=row.prompt_length,
        )


@dataclass(slots=True)
class Report:
    """How the draws that two ways have in common compare."""

    compared: int = 0
    margins: list[float] = field(default_factory=list)  # where the tokens part; the smaller of the two
    difference: float = 0.0  # the largest of any statistic
    num_wide: int = 0  # draws with a statistic that differs by more than `WIDE`
    num_otherwise: int = 0  # runs in which no token parted, and a decision on statistics still fell otherwise

    def add(self, other: "Report") -> None:
        self.compared += other.compared
        self.margins += other.margins
        self.difference = max(self.difference, other.difference)
        self.num_wide += other.num_wide
        self.num_otherwise += other.num_otherwise

    def __str__(self) -> str:
        parted = f"{len(self.margins)} parted" + (f" at margins up to {max(self.margins):.1e}" if self.margins else "")
        wide = f"by {self.difference:.1e} at most, in {self.num_wide} draws by more than {WIDE:g}"
        otherwise = f"; {self.num_otherwise} runs decided otherwise on statistics" if self.num_otherwise else ""
        return f"{self.compared} draws compared, {parted}; statistics differ {wide}{otherwise}"


def compare(left: Mapping[Key, Draw], right: Mapping[Key, Draw]) -> Report:
    """Draws after the same context by the same stream. What follows a parting has another context, and is left out."""
    report = Report()
    for key in left.keys() & right.keys():
        one, other = left[key], right[key]
        report.compared += 1
        names = ["entropy", "certainty"]
        if one.token == other.token:
            names.append("logprob")
        else:
            report.margins.append(min(one.margin, other.margin))
        difference = max(abs(getattr(one, name) - getattr(other, name)) for name in names)
        report.difference = max(report.difference, difference)
        report.num_wide += difference > WIDE
    return report

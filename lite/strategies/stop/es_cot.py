"""ES-CoT: stop thinking when one answer has lasted conspicuously longer than those before it (arXiv:2509.14004).

The answers read off after each step fall into runs of equal answers, of lengths r_1, r_2, ... The trace ends when the
newest difference of run lengths, r_n - r_(n-1), is at least `least`, and larger than the earlier differences by
a one-sided t-test. The difference of the first run is its length, so that a trace that is sure from the start ends too.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import ClassVar

from lite.strategies.fields import setting
from lite.strategies.stop.beta import student_tail
from lite.strategies.stop.probes import Probe, Probing

__all__ = ["ESCoT", "differences", "is_larger"]


def differences(answers: Sequence[Hashable | None]) -> list[int]:
    """r_1, r_2 - r_1, ...: by how much each run of equal answers is longer than the one before it."""
    runs = [len(list(run)) for _, run in groupby(answers)]
    return [after - before for before, after in pairwise([0, *runs])]


def is_larger(new: float, earlier: Sequence[float], level: float) -> bool:
    """Whether a one-sided t-test at this level finds the new value larger than the earlier ones.

    The test of one observation against a sample of k: t = (new - mean) / (s sqrt(1 + 1 / k)), k - 1 degrees of freedom.
    Fewer than two say nothing of how values vary: they only have to be smaller.
    """
    if len(earlier) < 2:
        return all(new > value for value in earlier)
    mean = math.fsum(earlier) / len(earlier)
    squares = math.fsum((value - mean) ** 2 for value in earlier)
    if squares == 0:
        return new > mean
    deviation = math.sqrt(squares / (len(earlier) - 1) * (1 + 1 / len(earlier)))
    return student_tail((new - mean) / deviation, len(earlier) - 1) < level


@dataclass(frozen=True, slots=True, kw_only=True)
class ESCoT(Probing):
    """Stops a thought when its answer's run is much longer than the runs before it.

    The paper's `least` of 10 is for traces of dozens of steps: a model of short thoughts needs less.
    """

    paper: ClassVar[str] = "arXiv:2509.14004"
    cost: ClassVar[str] = "1 trace or more, cut short, and a probe of each every step"
    cue: str = setting("The final answer is", "what a probe is made to say once its thought is closed")
    least: int = setting(10, "the paper's d_min: the least difference between the last two run lengths")
    level: float = setting(0.05, "of the t-test that the difference is larger than the earlier ones; 1: no test")

    def __post_init__(self) -> None:
        Probing.__post_init__(self)
        if self.least < 1:
            raise ValueError(f"least must be at least 1, got {self.least}")
        if not 0 < self.level <= 1:
            raise ValueError(f"level must be in (0, 1], got {self.level}")

    def settled(self, probes: Sequence[Probe]) -> bool:
        if probes[-1].answer is None:
            return False
        *earlier, new = differences([probe.answer for probe in probes])
        return new >= self.least and (self.level == 1 or is_larger(new, earlier, self.level))

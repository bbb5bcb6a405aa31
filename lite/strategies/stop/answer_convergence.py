"""Answer convergence: stop thinking when the answer no longer changes (arXiv:2506.02536)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lite.strategies.fields import setting
from lite.strategies.stop.probes import Probe, Probing

__all__ = ["AnswerConvergence", "agreement"]


def agreement(probes: Sequence[Probe]) -> int:
    """How many of the last probes give the last one's answer; 0 where that has none."""
    last = probes[-1].answer if probes else None
    differing = (i for i, probe in enumerate(reversed(probes)) if probe.answer != last)
    return 0 if last is None else next(differing, len(probes))


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerConvergence(Probing):
    """Stops a thought when the answers read off after its last k steps are equal.

    The paper's first signal: steps are sentences, each probe closes the thought and reads the answer greedily. A model
    that takes its last result for the answer seems settled too early: `step=reflection`, where it begins to check,
    with `agreeing=1` suits that.
    """

    paper: ClassVar[str] = "arXiv:2506.02536"
    cost: ClassVar[str] = "1 trace or more, cut short, and a probe of each every step"
    agreeing: int = setting(3, "the paper's k: so many answers in a row must be equal")

    def __post_init__(self) -> None:
        Probing.__post_init__(self)
        if self.agreeing < 1:
            raise ValueError(f"agreeing must be at least 1, got {self.agreeing}")

    def settled(self, probes: Sequence[Probe]) -> bool:
        return agreement(probes) >= self.agreeing

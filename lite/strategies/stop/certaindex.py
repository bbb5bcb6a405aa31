"""Certaindex: halt all traces of a question as soon as their answers so far agree (arXiv:2412.20993).

At every checkpoint each trace is probed for the answer that it would give now; one that has ended gives its own.
Certaindex is (log n - H) / log n, with H the entropy of the n answers' clusters: 1 where all agree, 0 where no two do.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import ClassVar

from lite.answers import group
from lite.sampler import Cancel
from lite.strategies.fields import setting
from lite.strategies.stop.probes import STEP_DOC, Probe, Probing, Trace

__all__ = ["Certaindex", "answer_entropy", "certaindex"]


def answer_entropy(answers: Sequence[Hashable]) -> float:
    """The entropy of the clusters of equal answers, in bits."""
    shares = [size / len(answers) for size in Counter(answers).values()]
    return -math.fsum(share * math.log2(share) for share in shares) + 0.0


def certaindex(answers: Sequence[Hashable | None]) -> float:
    """(log n - H) / log n, in [0, 1]. Each missing answer is a cluster of its own; 0 for fewer than two."""
    if len(answers) < 2:
        return 0.0
    clusters = [("missing", i) if answer is None else ("given", answer) for i, answer in enumerate(answers)]
    return max(0.0, 1 - answer_entropy(clusters) / math.log2(len(answers)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Certaindex(Probing):
    """A majority vote of traces that are halted together once the answers they would give agree.

    With one trace there is nothing to compare: it comes to its own end. Traces that take their last result for the
    answer agree too early: `step=reflection`, where they begin to check, with `every=1` suits them.
    """

    paper: ClassVar[str] = "arXiv:2412.20993"
    cost: ClassVar[str] = "N traces, cut short together, and a probe of each every step"
    samples: int = setting(8, "traces; they are halted together, and vote")
    step: str = setting("token", STEP_DOC)
    every: int = setting(32, "probe after every so many steps")
    threshold: float = setting(0.8, "the certaindex at which the traces are halted")

    def __post_init__(self) -> None:
        Probing.__post_init__(self)
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold must be in (0, 1], got {self.threshold}")

    def settled(self, probes: Sequence[Probe]) -> bool:
        return False

    def halted(self, traces: Sequence[Trace]) -> list[Cancel]:
        for checkpoint in count():
            if not all(_is_known(trace, checkpoint) for trace in traces):
                return []
            running = [trace for trace in traces if len(trace.probes) > checkpoint]
            if not running or any(trace.stop for trace in traces):
                return []
            values = [trace.value_at(checkpoint) for trace in traces]
            if certaindex(group(values, traces[0].question.equivalent)) >= self.threshold:
                return [cancel for trace in running for cancel in trace.stopped(trace.probes[checkpoint])]
        return []


def _is_known(trace: Trace, checkpoint: int) -> bool:
    """Whether the trace was probed there, or had ended before."""
    return len(trace.probes) > checkpoint or not trace.is_open

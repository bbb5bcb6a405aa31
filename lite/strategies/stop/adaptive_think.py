"""Adaptive think: stop thinking when the answer would be given with little entropy (arXiv:2505.18237).

After each step a probe reads the answer, and H_avg is the mean entropy of the distributions that its tokens were drawn
from. The trace ends when H_avg < alpha / (e ln 2) bits, the maximum of -p log2 p scaled by alpha.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from lite.sampler import Ability
from lite.strategies.fields import setting
from lite.strategies.stop.probes import Probe, Probing

__all__ = ["AdaptiveThink", "average_entropy"]


def average_entropy(probe: Probe) -> float:
    """H_avg in bits: over the tokens of the probe's answer. Infinite where it drew none."""
    values = probe.branch.entropy
    return math.fsum(values) / len(values) / math.log(2) if values else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveThink(Probing):
    """Stops a thought when the entropy of its answer falls below a threshold.

    The paper chooses alpha from 0.1 to 1 by the task. A probe without an extractable answer stops nothing.
    """

    paper: ClassVar[str] = "arXiv:2505.18237"
    cost: ClassVar[str] = "1 trace or more, cut short, and a probe of each every step"
    step: str = setting("paragraph", "what a step is: sentence, line, paragraph, token, or a text that ends one")
    alpha: float = setting(0.5, "the threshold on the mean entropy, as a part of 0.53 bits")

    def __post_init__(self) -> None:
        Probing.__post_init__(self)
        if not 0 <= self.alpha < math.inf:
            raise ValueError(f"alpha must be 0 (never stop) or above, got {self.alpha}")

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return {self.sampler: frozenset({"prefix", "fork", "entropy"})}

    def settled(self, probes: Sequence[Probe]) -> bool:
        limit = self.alpha / (math.e * math.log(2))
        return probes[-1].value is not None and average_entropy(probes[-1]) < limit

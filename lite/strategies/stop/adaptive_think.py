"""Adaptive think: stop thinking when the answer would be given with little entropy (arXiv:2505.18237).

After each step a probe reads the answer, and H_avg is the mean entropy of the distributions that its tokens were drawn
from. The trace ends when H_avg < alpha / (e ln 2) bits, the maximum of -p log2 p scaled by alpha. With `start` the
question is first answered without a thought, and thought about only where that answer's H_avg is not below the limit.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from lite.sampler import Ability, Flow, Question, Request
from lite.strategies.branches import Branch
from lite.strategies.fields import setting
from lite.strategies.route.watch import joined, watched
from lite.strategies.select.greedy import Greedy
from lite.strategies.select.nothinking import NoThinking
from lite.strategies.stop.probes import STEP_DOC, Probe, Probing
from lite.strategies.stop.thought import in_thought

__all__ = ["AdaptiveThink", "average_entropy"]


def average_entropy(branch: Branch) -> float:
    """H_avg in bits: over a branch's drawn tokens. Infinite where it has none."""
    values = branch.entropy
    return math.fsum(values) / len(values) / math.log(2) if values else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveThink(Probing):
    """Stops a thought when the entropy of its answer falls below a threshold.

    The paper chooses alpha from 0.1 to 1 by the task. A probe without an extractable answer stops nothing.
    """

    paper: ClassVar[str] = "arXiv:2505.18237"
    cost: ClassVar[str] = "1 trace or more, cut short, and a probe of each every step"
    step: str = setting("paragraph", STEP_DOC)
    alpha: float = setting(0.5, "the threshold on the mean entropy, as a part of 0.53 bits")
    start: bool = setting(False, "first answer without a thought, and think only where that is not below the threshold")

    def __post_init__(self) -> None:
        Probing.__post_init__(self)
        if not 0 <= self.alpha < math.inf:
            raise ValueError(f"alpha must be 0 (never stop) or above, got {self.alpha}")

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return {self.sampler: frozenset({"prefix", "fork", "entropy"})}

    def __call__(self, question: Question) -> Flow:
        if not (self.start and in_thought(question, Request(question.prompt, sampler=self.sampler), "")):
            return (yield from Probing.__call__(self, question))
        unthought = NoThinking(inner=Greedy(params=self.params, sampler=self.sampler))
        answer, branches = yield from watched(unthought(question))
        if answer.value is not None and self._is_sure(branches[0]):
            return answer
        return joined(question, answer, (yield from Probing.__call__(self, question)))

    def settled(self, probes: Sequence[Probe]) -> bool:
        return probes[-1].value is not None and self._is_sure(probes[-1].branch)

    def _is_sure(self, answer: Branch) -> bool:
        return average_entropy(answer) < self.alpha / (math.e * math.log(2))

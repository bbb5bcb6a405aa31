"""Rounds: a few samples, and twice as many as long as the vote is unsure.

It goes around any strategy that draws several samples and tells a confidence; what an earlier round drew is not drawn
again. Adaptive consistency (arXiv:2305.11860) asks the same of a majority vote, sample by sample; rounds suit an engine
that draws several samples in the time of one. `samples="auto"` is this, with sizes that were measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from lite.sampler import Ability, Flow, Question, Strategy
from lite.strategies.budget.drawn import Drawn
from lite.strategies.fields import setting
from lite.strategies.parts import with_samples
from lite.strategies.select.self_certainty import SelfCertainty

__all__ = ["Rounds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """The inner strategy with `first` samples, then with twice as many, until it is confident or has `most`.

    Where it tells no confidence one round is all. The answer is what the inner strategy would have said, had it been
    given that many samples from the beginning.
    """

    paper: ClassVar[str] = ""
    cost: ClassVar[str] = "first to most samples, in rounds that double"
    inner: Strategy = field(default_factory=SelfCertainty, metadata={"doc": "the strategy that samples and decides"})
    first: int = setting(4, "samples of the first round")
    most: int = setting(32, "samples at most")
    threshold: float = setting(0.8, "the confidence that is enough")

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.most:
            raise ValueError(f"first must be from 1 to most, which is {self.most}, got {self.first}")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be in [0, 1], got {self.threshold}")

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return self.inner.needs

    @property
    def at_once(self) -> int:
        """Branches that want to be live together."""
        return max(self.first, self.most // 2)

    def __call__(self, question: Question) -> Flow:
        drawn, samples = Drawn(), self.first
        while True:
            answer = yield from drawn.around(with_samples(self.inner, samples)(question))
            unsure = answer.confidence is not None and answer.confidence < self.threshold
            if not unsure or samples >= self.most:
                return answer
            samples = min(2 * samples, self.most)

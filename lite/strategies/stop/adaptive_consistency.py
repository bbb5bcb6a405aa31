"""Adaptive consistency: sample on until the leading answer will very probably stay the leader (arXiv:2305.11860).

After votes of v_1 >= v_2 >= ... the answers' long-run shares are taken to be Dirichlet(v + 1) distributed. Sampling
stops when P(p_1 is the largest) exceeds the threshold; the Beta criterion looks at the first two answers only, and is
the paper's choice: it is cheaper and stops at much the same sample.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from lite.params import SamplingParams
from lite.sampler import Ability, Flow, Question
from lite.strategies.branches import Branch, draw, requests_of
from lite.strategies.fields import check_samples, setting
from lite.strategies.select.majority import majority
from lite.strategies.stop.beta import beta_majority, dirichlet_majority
from lite.strategies.verdict import read, voted

__all__ = ["AdaptiveConsistency", "stability"]


def stability(answers: Sequence[Hashable | None], rule: Literal["beta", "dirichlet"]) -> float:
    """The probability that the leading answer is the likeliest; 0 where nobody voted."""
    counts = [count for _, count in Counter(a for a in answers if a is not None).most_common()]
    if not counts:
        return 0.0
    return dirichlet_majority([*counts, *[0] * (len(counts) < 2)]) if rule == "dirichlet" else _beta(counts)


def _beta(counts: Sequence[int]) -> float:
    return beta_majority(counts[0], counts[1] if len(counts) > 1 else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveConsistency:
    """A majority vote that draws more samples only while the winner is in doubt.

    The paper draws one sample at a time; a wave of several costs little more time where they are drawn together.
    """

    paper: ClassVar[str] = "arXiv:2305.11860"
    cost: ClassVar[str] = "up to N samples, in waves"
    samples: int = setting(16, "completions to draw at most")
    params: SamplingParams = field(default_factory=SamplingParams)
    sampler: str = setting("local", "which sampler draws")
    rule: Literal["beta", "dirichlet"] = setting("beta", "compare the first two answers, or all")
    threshold: float = setting(0.95, "the probability that the leader is the likeliest answer at which it is accepted")
    wave: int = setting(2, "samples to draw at a time; it is looked at after each wave")

    def __post_init__(self) -> None:
        check_samples(self.samples)
        if not 0.5 <= self.threshold <= 1:
            raise ValueError(f"threshold must be in [0.5, 1], got {self.threshold}")
        if self.wave < 1:
            raise ValueError(f"wave must be at least 1, got {self.wave}")

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return {self.sampler: frozenset()}

    def __call__(self, question: Question) -> Flow:
        requests = requests_of(question, samples=self.samples, params=self.params, sampler=self.sampler)
        branches: tuple[Branch, ...] = ()
        ballot = read(question, branches)
        while len(branches) < self.samples and stability(ballot.answers, self.rule) <= self.threshold:
            branches += yield from draw(requests[len(branches) : len(branches) + self.wave])
            ballot = read(question, branches)
        return voted(ballot, majority(ballot.answers), [None] * len(branches))

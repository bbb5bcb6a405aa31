"""Self-certainty: trust the completions whose next-token distributions were farthest from uniform (arXiv:2502.18581).

A completion's score is the mean over its drawn tokens of KL(uniform || p), in nats (eq. 9), each token scored by the
raw distribution that it was drawn from. Closed answers are settled by a Borda vote: the N samples are
ranked by score, and the r-th gives (N - r + 1)^p votes to its answer. p = 0 is the majority vote.

The authors' script scores the distribution *after* each token instead. That of the last token is drawn from only
when a branch ends its turn, so it cannot be had from a stream of draws in general, and is not offered here.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from lite.params import SamplingParams
from lite.sampler import Ability, Flow, Question
from lite.strategies.branches import draw, requests_of
from lite.strategies.fields import check_samples, setting
from lite.strategies.verdict import Election, elect, picked, rank_value, read, voted

__all__ = ["SelfCertainty", "borda", "power_for"]


def borda(confidences: Sequence[float], answers: Sequence[Hashable | None], power: float) -> Election:
    """The weighted Borda count v(r) = (N - r + 1)^p over N samples, None keeping its rank without a vote.

    Equal confidences (see `rank_value`) rank in the order of the samples, equal totals go to the earliest answer, as
    in the authors' code.
    """
    count = len(confidences)
    ranking = sorted(range(count), key=lambda i: rank_value(confidences[i]), reverse=True)
    votes = [0.0] * count
    for rank, sample in enumerate(ranking, start=1):
        votes[sample] = float(count - rank + 1) ** power
    return elect(answers, votes)


def power_for(samples: int) -> float:
    """p by N, after the paper's findings: 0.3 for small N, 0.7 from 16 samples on, 1.2 from 64 on."""
    return 0.3 if samples < 16 else 0.7 if samples < 64 else 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfCertainty:
    """Best-of-N by the model's own certainty: a Borda vote for closed answers, the best sample for open ones.

    A question is open where no sample has an extractable answer, or where `rule` says "argmax".
    """

    paper: ClassVar[str] = "arXiv:2502.18581"
    cost: ClassVar[str] = "N samples"
    samples: int = setting(16, "completions to draw")
    params: SamplingParams = field(default_factory=SamplingParams)
    sampler: str = setting("local", "which sampler draws")
    rule: Literal["borda", "argmax"] = setting("borda", "a vote of ranks, or the single most certain sample")
    power: float | None = setting(None, "the vote's exponent p; 0 is the majority vote; auto: 0.3, 0.7 or 1.2 by N")

    def __post_init__(self) -> None:
        check_samples(self.samples)
        if self.power is not None and not 0 <= self.power < math.inf:
            raise ValueError(f"power must be 0 (the majority vote) or above, got {self.power}")

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return {self.sampler: frozenset({"certainty"})}

    def __call__(self, question: Question) -> Flow:
        requests = requests_of(question, samples=self.samples, params=self.params, sampler=self.sampler)
        branches = yield from draw(requests)
        ballot = read(question, branches)
        scores = [branch.mean_certainty for branch in branches]
        if self.rule == "argmax":
            return picked(ballot, scores)
        confidences = [-math.inf if score is None else score for score in scores]
        power = power_for(self.samples) if self.power is None else self.power
        return voted(ballot, borda(confidences, ballot.answers, power), scores)

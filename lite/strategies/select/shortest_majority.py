"""Shortest majority vote: many votes and short reasoning win (arXiv:2502.12215).

Samples are grouped by answer; a group of c samples with mean length l tokens scores c / ln(l).
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from lite.params import SamplingParams
from lite.sampler import Ability, Flow, Question
from lite.strategies.branches import draw, requests_of
from lite.strategies.fields import check_samples, setting
from lite.strategies.verdict import Election, elect, read, voted

__all__ = ["ShortestMajority", "shortest_majority"]

_SHORTEST = 2.0  # tokens: ln(1) = 0 would give a one-token answer infinite weight


def shortest_majority(lengths: Sequence[float], answers: Sequence[Hashable | None]) -> Election:
    """The answer with the largest c / ln(l): each sample of a group gives 1 / ln(l). Ties to the earliest answer."""
    groups: dict[Hashable, list[float]] = {}
    for length, answer in zip(lengths, answers, strict=True):
        groups.setdefault(answer, []).append(length)
    weights = {answer: 1 / math.log(max(sum(group) / len(group), _SHORTEST)) for answer, group in groups.items()}
    return elect(answers, [weights[answer] for answer in answers])


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortestMajority:
    """The answer that many samples reach in few tokens.

    The score is minus the length in tokens: the winning text is the shortest with the winning answer.
    """

    paper: ClassVar[str] = "arXiv:2502.12215"
    cost: ClassVar[str] = "N samples"
    samples: int = setting(16, "completions to draw")
    params: SamplingParams = field(default_factory=SamplingParams)
    sampler: str = setting("local", "which sampler draws")

    def __post_init__(self) -> None:
        check_samples(self.samples)

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return {self.sampler: frozenset()}

    def __call__(self, question: Question) -> Flow:
        requests = requests_of(question, samples=self.samples, params=self.params, sampler=self.sampler)
        branches = yield from draw(requests)
        ballot = read(question, branches)
        election = shortest_majority([branch.tokens for branch in branches], ballot.answers)
        return voted(ballot, election, [-float(branch.tokens) for branch in branches])

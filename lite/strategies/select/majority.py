"""Self-consistency: sample N completions and return the answer that most of them reach (arXiv:2203.11171)."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from lite.params import SamplingParams
from lite.sampler import Ability, Flow, Question
from lite.strategies.branches import draw, requests_of
from lite.strategies.fields import check_samples, setting
from lite.strategies.verdict import Election, elect, read, voted

__all__ = ["Majority", "majority"]


def majority(answers: Sequence[Hashable | None]) -> Election:
    """One vote a sample; None casts none. Ties to the earliest answer."""
    return elect(answers, [1.0] * len(answers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Majority:
    """The answer that most samples reach.

    It needs no statistic, so candidates have no score: the winning text is the first with the winning answer.
    """

    paper: ClassVar[str] = "arXiv:2203.11171"
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
        return voted(ballot, majority(ballot.answers), [None] * len(branches))

"""One completion, always the likeliest token."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from lite.params import SamplingParams
from lite.sampler import Ability, Flow, Question
from lite.strategies.branches import draw, requests_of
from lite.strategies.fields import setting
from lite.strategies.verdict import picked, read

__all__ = ["Greedy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Greedy:
    """One branch at temperature 0.

    There is no vote, so no confidence; the candidate's score is its mean log-probability where the sampler tells.
    """

    paper: ClassVar[str] = ""
    cost: ClassVar[str] = "1 sample"
    params: SamplingParams = field(default_factory=SamplingParams)
    sampler: str = setting("local", "which sampler draws")

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return {self.sampler: frozenset()}

    def __call__(self, question: Question) -> Flow:
        params = replace(self.params, temperature=0.0)
        branches = yield from draw(requests_of(question, samples=1, params=params, sampler=self.sampler))
        return picked(read(question, branches), [branch.mean_logprob for branch in branches])

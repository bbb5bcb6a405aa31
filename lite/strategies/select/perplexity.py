"""Perplexity: the sample that surprises the model least, or a vote in which each sample weighs 1 / perplexity.

Perplexity is exp(-mean log-probability), so the least perplexed sample is mean_logprob.py's. As a weight,
1 / perplexity is the inner probability p of Perplexity Consistency (arXiv:2502.00511): an answer's score is the sum of
p over the distinct completions that reach it, because the same completion drawn twice is one path, not two.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from lite.params import SamplingParams
from lite.sampler import Ability, Flow, Question
from lite.strategies.branches import Branch, draw, requests_of
from lite.strategies.fields import check_samples, setting
from lite.strategies.verdict import Election, elect, picked, read, voted

__all__ = ["Perplexity", "inner_probability", "perplexity_consistency"]


def inner_probability(branch: Branch) -> float | None:
    """1 / perplexity = exp(mean log-probability), in (0, 1]: the geometric mean of the tokens' probabilities."""
    mean = branch.mean_logprob
    return None if mean is None else math.exp(mean)


def perplexity_consistency(
    probabilities: Sequence[float], answers: Sequence[Hashable | None], completions: Sequence[Hashable]
) -> Election:
    """The answer whose distinct completions have the largest sum of probabilities.

    Of equal completions the first with a probability above 0 votes. None casts no vote; ties to the earliest answer.
    """
    seen: set[Hashable] = set()
    votes = []
    for probability, completion in zip(probabilities, completions, strict=True):
        votes.append(0.0 if completion in seen else probability)
        if probability > 0:
            seen.add(completion)
    return elect(answers, votes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Perplexity:
    """The sample of lowest perplexity, or the answer of the heaviest 1 / perplexity.

    The score is 1 / perplexity, so that higher is better as everywhere.
    """

    paper: ClassVar[str] = "arXiv:2502.00511"
    cost: ClassVar[str] = "N samples"
    samples: int = setting(16, "completions to draw")
    params: SamplingParams = field(default_factory=SamplingParams)
    sampler: str = setting("local", "which sampler draws")
    rule: Literal["argmax", "vote"] = setting("argmax", "the single best sample, or perplexity consistency")

    def __post_init__(self) -> None:
        check_samples(self.samples)

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return {self.sampler: frozenset({"logprobs"})}

    def __call__(self, question: Question) -> Flow:
        requests = requests_of(question, samples=self.samples, params=self.params, sampler=self.sampler)
        branches = yield from draw(requests)
        ballot = read(question, branches)
        scores = [inner_probability(branch) for branch in branches]
        if self.rule == "argmax":
            return picked(ballot, scores)
        weights = [score or 0.0 for score in scores]
        texts = [branch.text for branch in branches]
        return voted(ballot, perplexity_consistency(weights, ballot.answers, texts), scores)

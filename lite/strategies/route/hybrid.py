"""Hybrid routing: decide by the question, before it is answered, which model gets it (arXiv:2404.14618).

The paper trains a router r(x) that predicts whether the small model's answer would be as good as the large one's, and
sends x to the small one where r(x) >= threshold. Here r(x) needs no training: the small model begins to
answer, and r is its mean self-certainty, log-probability or negative entropy over the first tokens. The threshold is
the quantile of r over a sample of questions that sends the wanted share to the large model (calibration.py).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from lite.params import SamplingParams
from lite.sampler import Ability, Flow, Question, Request, Strategy
from lite.strategies.branches import Branch, draw
from lite.strategies.fields import setting
from lite.strategies.route.watch import joined, stands
from lite.strategies.select.greedy import Greedy
from lite.strategies.select.self_certainty import SelfCertainty
from lite.strategies.verdict import picked, read

__all__ = ["Hybrid"]

_NEEDS: Mapping[str, Ability] = {"self-certainty": "certainty", "logprob": "logprobs", "entropy": "entropy"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hybrid:
    """The small strategy where the first tokens of a greedy answer are certain enough, else the large one.

    The glimpse is a candidate of its own that has no vote. Where the large strategy fails, the small one answers.
    """

    paper: ClassVar[str] = "arXiv:2404.14618"
    cost: ClassVar[str] = "a glimpse, then the small strategy's or the large one's"
    small: Strategy = field(default_factory=SelfCertainty, metadata={"doc": "answers what looks easy"})
    large: Strategy = field(
        default_factory=lambda: Greedy(sampler="remote"), metadata={"doc": "answers what looks hard"}
    )
    measure: Literal["self-certainty", "logprob", "entropy"] = setting(
        "self-certainty", "what is averaged over the glimpse; entropy counts as negative"
    )
    threshold: float = setting(10.0, "the least mean, in nats, for the small strategy; calibrate it")
    glimpse: int = setting(32, "tokens of the glimpse")
    params: SamplingParams = field(default_factory=SamplingParams)
    sampler: str = setting("local", "which sampler glimpses")

    def __post_init__(self) -> None:
        if self.glimpse < 1:
            raise ValueError(f"glimpse must be at least 1 token, got {self.glimpse}")

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        own = {self.sampler: frozenset({_NEEDS[self.measure]})}
        parts = (own, self.small.needs, self.large.needs)
        names = dict.fromkeys(name for part in parts for name in part)
        return {name: frozenset().union(*(part.get(name, frozenset()) for part in parts)) for name in names}

    def __call__(self, question: Question) -> Flow:
        params = replace(self.params, max_tokens=min(self.glimpse, self.params.max_tokens), temperature=0.0)
        (branch,) = yield from draw((Request(question.prompt, params, sampler=self.sampler),))
        score = self._score(branch)
        glimpsed = picked(read(question, (branch,)), [score])
        if score is not None and score >= self.threshold:
            answer = yield from self.small(question)
        else:
            answer = yield from self.large(question)
            if not stands(question, answer):
                answer = joined(question, (yield from self.small(question)), answer)
        return replace(answer, candidates=glimpsed.candidates + answer.candidates)

    def _score(self, branch: Branch) -> float | None:
        values = {"self-certainty": branch.certainty, "logprob": branch.logprobs, "entropy": branch.entropy}
        chosen = values[self.measure]
        mean = math.fsum(chosen) / len(chosen) if chosen else None
        return -mean if mean is not None and self.measure == "entropy" else mean

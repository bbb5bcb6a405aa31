"""Cascade: ask the small model, and the large one only when its answer is unsure (FrugalGPT, arXiv:2305.05176).

The paper accepts model i's answer where g(question, answer) > tau_i, with a regressor g trained for each task.
Here g needs no training: it is one of the measures of confidence.py, and tau comes from
`calibration.py` or the user. A chain of three models is a cascade whose `large` is a cascade.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from lite.sampler import Ability, Flow, Question, Strategy
from lite.strategies.fields import setting
from lite.strategies.route.confidence import MEASURE_DOC, MEASURE_NEEDS, measured
from lite.strategies.route.watch import extended, joined, watched
from lite.strategies.select.greedy import Greedy
from lite.strategies.select.self_certainty import SelfCertainty

__all__ = ["Cascade"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascade:
    """The small strategy's answer where its confidence reaches the threshold, else the large one's.

    Nothing is lost: where no sample of the large strategy came to its end (the server failed, a privacy rule or the
    budget kept the question here), the small one's answer is returned, beside the candidates that failed.
    """

    paper: ClassVar[str] = "arXiv:2305.05176"
    cost: ClassVar[str] = "the small strategy's, and the large one's where unsure"
    small: Strategy = field(default_factory=SelfCertainty, metadata={"doc": "the strategy that is asked first"})
    large: Strategy = field(
        default_factory=lambda: Greedy(sampler="remote"), metadata={"doc": "the strategy that is asked when unsure"}
    )
    measure: Literal["votes", "self-certainty", "logprob", "likelihood", "p-yes"] = setting("votes", MEASURE_DOC)
    threshold: float = setting(0.6, "the least confidence that keeps the small strategy's answer; calibrate it")

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        small, large = extended(self.small, MEASURE_NEEDS[self.measure]), self.large.needs
        return {name: small.get(name, frozenset()) | large.get(name, frozenset()) for name in {**small, **large}}

    def __call__(self, question: Question) -> Flow:
        answer, branches = yield from watched(self.small(question))
        confidence = yield from measured(question, answer, branches, self.measure)
        if answer.value is not None and confidence is not None and confidence >= self.threshold:
            return answer
        return joined(question, answer, (yield from self.large(question)))

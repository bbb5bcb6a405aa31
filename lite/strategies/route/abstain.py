"""Abstain: no answer rather than an unsure one (selective answering, arXiv:2502.13962).

The paper's confidence is the summed log-probability of the answer's tokens, its rule to answer where that,
as a probability, exceeds tau in {0, 0.5, 0.95}. Wrap a Cascade to escalate first and abstain only then.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from lite.sampler import Ability, Flow, Question, Strategy
from lite.strategies.fields import setting
from lite.strategies.route.confidence import MEASURE_DOC, MEASURE_NEEDS, is_probability, measured
from lite.strategies.route.watch import extended, watched
from lite.strategies.select.self_certainty import SelfCertainty

__all__ = ["Abstain", "utility"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Abstain:
    """The inner strategy's answer where its confidence exceeds the threshold, else a text without a value.

    The candidates are kept, so what it would have said can be read. `confidence` is the measured one where that is
    a probability.
    """

    paper: ClassVar[str] = "arXiv:2502.13962"
    cost: ClassVar[str] = "the inner strategy's"
    inner: Strategy = field(default_factory=SelfCertainty, metadata={"doc": "the strategy that answers"})
    measure: Literal["votes", "self-certainty", "logprob", "likelihood", "p-yes"] = setting("logprob", MEASURE_DOC)
    threshold: float = setting(0.5, "answer only above this confidence")
    text: str = setting("I am not sure.", "what is said instead of an answer")

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return extended(self.inner, MEASURE_NEEDS[self.measure])

    def __call__(self, question: Question) -> Flow:
        answer, branches = yield from watched(self.inner(question))
        confidence = yield from measured(question, answer, branches, self.measure)
        if is_probability(self.measure):
            answer = replace(answer, confidence=confidence)
        if answer.value is not None and confidence is not None and confidence > self.threshold:
            return answer
        return replace(answer, text=self.text, value=None)


def utility(outcomes: Iterable[bool | None], penalty: float) -> float:
    """Mean of +1 for each right answer, -penalty for each wrong one, 0 for each abstention (None).

    The paper's odds: 0 in an exam, 1 in Jeopardy, 20 where the stakes are high. Raises ValueError without outcomes.
    """
    values = [0.0 if right is None else 1.0 if right else -penalty for right in outcomes]
    if not values:
        raise ValueError("utility needs at least 1 outcome, got 0")
    return sum(values) / len(values)

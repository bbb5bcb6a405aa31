"""How sure a strategy is of its answer: what routers compare with a threshold. None is less sure than any number."""

import math
from collections.abc import Generator, Mapping, Sequence
from typing import Literal, TypeAlias

from lite.sampler import Ability, Answer, Command, Event, Question
from lite.strategies.branches import Branch
from lite.strategies.route.affirm import AFFIRM_NEEDS, affirmed_after
from lite.strategies.route.watch import supporters
from lite.strategies.verdict import answer_text

__all__ = ["MEASURE_DOC", "MEASURE_NEEDS", "Measure", "answer_logprob", "is_probability", "measured"]

Measure: TypeAlias = Literal["votes", "self-certainty", "logprob", "likelihood", "p-yes"]
"""The answer's share of the votes; the mean certainty of the samples behind it, in nats (arXiv:2502.18581, eq. 9); the
probability of the answer's own tokens (arXiv:2502.13962); the mean probability of all tokens of the sample that gave
it, geometrically (1 / perplexity); P(yes) to "is this correct?" (arXiv:2207.05221).
"""

MEASURE_NEEDS: Mapping[Measure, frozenset[Ability]] = {
    "votes": frozenset(),
    "self-certainty": frozenset({"certainty"}),
    "logprob": frozenset({"logprobs"}),
    "likelihood": frozenset({"logprobs"}),
    "p-yes": AFFIRM_NEEDS | {"fork"},
}

MEASURE_DOC = (
    "what confidence is: the share of the votes; of the samples behind the answer their mean certainty, the probability"
    " of the answer's own tokens, or the mean one of all tokens; or P(yes) when the model is asked"
)

_IS_IT_CORRECT = "\n\nIs the answer above correct, Yes or No?"


def is_probability(measure: Measure) -> bool:
    """Whether its values are in [0, 1]."""
    return measure != "self-certainty"


def measured(
    question: Question, answer: Answer, branches: Sequence[Branch], measure: Measure
) -> Generator[Sequence[Command], Sequence[Event], float | None]:
    """The confidence in an answer by the branches that it was made of; only p-yes draws anything."""
    if measure == "votes":
        return answer.confidence
    behind = supporters(question, answer, branches)
    if not behind:
        return None
    if measure == "self-certainty":
        known = [branch.mean_certainty for branch in behind]
        values = [value for value in known if value is not None]
        return math.fsum(values) / len(values) if values else None
    winner = next((branch for branch in behind if answer_text(question, branch) == answer.text), behind[0])
    if measure in ("logprob", "likelihood"):
        logprob = answer_logprob(winner, answer.value) if measure == "logprob" else winner.mean_logprob
        return None if logprob is None else math.exp(min(0.0, logprob))
    return (yield from affirmed_after(winner, _IS_IT_CORRECT))


def answer_logprob(branch: Branch, value: str | None) -> float | None:
    """The summed log-probability, in nats, of the tokens that write the value where it stands last.

    None where the value is not in the text as it stands, or the sampler tells no log-probabilities.
    """
    if value is None or len(branch.logprobs) != branch.tokens:
        return None
    begin = branch.text.rfind(value)
    if begin < 0:
        return None
    total, at = 0.0, 0
    for text, logprob in zip(branch.texts, branch.logprobs, strict=True):
        if at < begin + len(value) and at + len(text) > begin:
            total += logprob
        at += len(text)
    return total

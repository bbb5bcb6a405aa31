"""Best of mini-N in a loop: draw a few samples at a time until one is good enough (arXiv:2510.04087).

The budget of N samples is split into loops of m. After each loop the best score so far is compared with what is
acceptable; if nothing ever is, the strategy answers with the best it has, or abstains.

The paper trains a reward model with an outside option, whose score of 0 is the threshold. Any score may stand in for
it here, with a threshold that the user has found on examples of the task: there is none that suits every model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from lite.params import SamplingParams
from lite.sampler import Ability, Flow, Question
from lite.strategies.branches import Branch, draw, requests_of
from lite.strategies.fields import check_samples, setting
from lite.strategies.stop.scores import ability_of, score_of
from lite.strategies.verdict import picked, read

__all__ = ["MiniN"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniN:
    """The best-scored sample, drawing more only until one is acceptable.

    A sample without an extractable answer is never acceptable. Nobody votes, so there is no confidence.
    """

    paper: ClassVar[str] = "arXiv:2510.04087"
    cost: ClassVar[str] = "up to N samples, a few at a time"
    samples: int = setting(16, "completions to draw at most")
    loop: int = setting(4, "the paper's mini-N: samples to draw at a time")
    params: SamplingParams = field(default_factory=SamplingParams)
    sampler: str = setting("local", "which sampler draws")
    measure: Literal["certainty", "logprob"] = setting("logprob", "the score: the mean of it, in nats")
    acceptable: float = setting(-0.1, "the score from which a sample is good enough")
    otherwise: Literal["best", "abstain"] = setting("best", "what to answer if none is: the best, or no value")

    def __post_init__(self) -> None:
        check_samples(self.samples)
        if self.loop < 1:
            raise ValueError(f"loop must be at least 1, got {self.loop}")

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return {self.sampler: frozenset({ability_of(self.measure)})}

    def __call__(self, question: Question) -> Flow:
        requests = requests_of(question, samples=self.samples, params=self.params, sampler=self.sampler)
        branches: tuple[Branch, ...] = ()
        is_acceptable = False
        while len(branches) < self.samples and not is_acceptable:
            branches += yield from draw(requests[len(branches) : len(branches) + self.loop])
            scores = [score_of(branch, self.measure) for branch in branches]
            ballot = read(question, branches)
            is_acceptable = any(
                value is not None and score is not None and score >= self.acceptable
                for value, score in zip(ballot.values, scores, strict=True)
            )
        answer = picked(ballot, scores)
        return answer if is_acceptable or self.otherwise == "best" else replace(answer, text="", value=None)

"""Best-of-N by mean log-probability: the completion that is likeliest per token (a baseline of arXiv:2502.18581).

It ranks samples as perplexity does, which is exp(-mean log-probability). Only a vote that weighs samples by the value
itself can tell the two apart: see perplexity.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from lite.params import SamplingParams
from lite.sampler import Ability, Flow, Question
from lite.strategies.branches import draw, requests_of
from lite.strategies.fields import check_samples, setting
from lite.strategies.verdict import picked, read

__all__ = ["MeanLogprob"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanLogprob:
    """The sample with the highest mean log-probability per token.

    The score is that mean in nats. A sample without an extractable answer wins only if none has one.
    """

    paper: ClassVar[str] = "arXiv:2502.18581"
    cost: ClassVar[str] = "N samples"
    samples: int = setting(16, "completions to draw")
    params: SamplingParams = field(default_factory=SamplingParams)
    sampler: str = setting("local", "which sampler draws")

    def __post_init__(self) -> None:
        check_samples(self.samples)

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return {self.sampler: frozenset({"logprobs"})}

    def __call__(self, question: Question) -> Flow:
        requests = requests_of(question, samples=self.samples, params=self.params, sampler=self.sampler)
        branches = yield from draw(requests)
        return picked(read(question, branches), [branch.mean_logprob for branch in branches])

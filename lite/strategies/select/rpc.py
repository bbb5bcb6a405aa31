"""RPC: perplexity consistency with reasoning pruning (arXiv:2502.00511).

Each sample has the inner probability p = exp(mean log-probability), as in the authors' code. Pruning fits
a mixture of two Weibull distributions to the p and drops a sample that both belongs more probably to the lower
component and lies under the mean. The rest vote by perplexity consistency.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from lite.params import SamplingParams
from lite.sampler import Ability, Flow, Question
from lite.strategies.branches import draw, requests_of
from lite.strategies.fields import check_samples, setting
from lite.strategies.select.perplexity import inner_probability, perplexity_consistency
from lite.strategies.verdict import Election, read, voted
from lite.strategies.weibull import fit_weibull_mixture

__all__ = ["RPC", "prune", "rpc"]

_FEWEST = 8  # samples: five parameters fitted to fewer say nothing


def prune(probabilities: Sequence[float]) -> list[bool]:
    """Which samples stay. All do where the fit is degenerate: few or equal samples, no convergence."""
    positive = [p for p in probabilities if p > 0]
    if len(positive) < _FEWEST or min(positive) == max(positive):
        return [True] * len(probabilities)
    mixture = fit_weibull_mixture(positive)
    if mixture is None:
        return [True] * len(probabilities)
    mean = math.fsum(positive) / len(positive)
    return [p >= mean or (p > 0 and not mixture.is_likelier_low(p)) for p in probabilities]


def rpc(
    mean_logprobs: Sequence[float], answers: Sequence[Hashable | None], completions: Sequence[Hashable]
) -> Election:
    """The answer that wins by perplexity consistency after pruning; where pruning leaves no vote, without it.

    Equal answers are equal objects; None casts no vote but counts in the fit. A mean of -inf is a sample of no tokens.
    """
    probabilities = [math.exp(mean) for mean in mean_logprobs]
    kept = [p if stays else 0.0 for p, stays in zip(probabilities, prune(probabilities), strict=True)]
    election = perplexity_consistency(kept, answers, completions)
    return election if election.total > 0 else perplexity_consistency(probabilities, answers, completions)


@dataclass(frozen=True, slots=True, kw_only=True)
class RPC:
    """A vote weighted by each completion's probability, without the completions of the lower mode.

    The score is the inner probability 1 / perplexity; a pruned or repeated completion has a score but no votes.
    """

    paper: ClassVar[str] = "arXiv:2502.00511"
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
        ballot = read(question, branches)
        means = [-math.inf if branch.mean_logprob is None else branch.mean_logprob for branch in branches]
        election = rpc(means, ballot.answers, [branch.text for branch in branches])
        return voted(ballot, election, [inner_probability(branch) for branch in branches])

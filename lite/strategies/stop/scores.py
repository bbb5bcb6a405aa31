"""How good a completion looks to the model that drew it, where there is no reward model."""

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

from lite.sampler import Ability
from lite.strategies.branches import Branch

__all__ = ["Measure", "ability_of", "score_of"]

Measure: TypeAlias = Literal["certainty", "logprob"]
"""The mean over a completion's tokens of KL(uniform || p) (arXiv:2502.18581, eq. 9) or of the log-probability, nats."""


def ability_of(measure: Measure) -> Ability:
    """What a sampler must tell for it."""
    return "certainty" if measure == "certainty" else "logprobs"


def score_of(branch: Branch, measure: Measure, at: int | None = None) -> float | None:
    """Over the first `at` tokens; None means all. None where there is no token."""
    values: Sequence[float] = branch.certainty if measure == "certainty" else branch.logprobs
    values = values[:at]
    return math.fsum(values) / len(values) if values else None

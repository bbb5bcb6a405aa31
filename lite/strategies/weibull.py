"""A mixture of two Weibull distributions, fitted by maximum likelihood for reasoning pruning (arXiv:2502.00511).

Start and bounds are those of the authors' code: w = 0.5 in [0.2, 0.8], (shape, scale) = (1, 1) and (1.5, 2), each at
least 0.01. The likelihood has several maxima; the start decides which one is found.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from lite.strategies.bounded_minimize import minimize

__all__ = ["Weibull", "WeibullMixture", "fit_weibull_mixture"]

_START = (0.5, 1.0, 1.0, 1.5, 2.0)
_LOWER = (0.2, 0.01, 0.01, 0.01, 0.01)
_UPPER = (0.8, math.inf, math.inf, math.inf, math.inf)
_LARGEST_EXPONENT = 700.0  # exp() of more overflows a float


class Weibull(NamedTuple):
    """The distribution with density (k/s) (x/s)^(k-1) exp(-(x/s)^k), shape k and scale s."""

    shape: float
    scale: float

    @property
    def mean(self) -> float:
        return self.scale * math.gamma(1 + 1 / self.shape)

    def log_density(self, log_x: float) -> float:
        """Of a point given by its logarithm."""
        ratio = log_x - math.log(self.scale)
        return math.log(self.shape / self.scale) + (self.shape - 1) * ratio - _power(self.shape, ratio)

    def log_density_gradient(self, log_x: float) -> tuple[float, float]:
        """By shape and by scale."""
        ratio = log_x - math.log(self.scale)
        power = _power(self.shape, ratio)
        return 1 / self.shape + ratio * (1 - power), self.shape / self.scale * (power - 1)


class WeibullMixture(NamedTuple):
    """`high` has the larger mean and the given weight, `low` the rest."""

    weight: float
    high: Weibull
    low: Weibull

    def is_likelier_low(self, x: float) -> bool:
        """Whether a point more probably comes from the lower component; x > 0."""
        high = math.log(self.weight) + self.high.log_density(math.log(x))
        return high < math.log(1 - self.weight) + self.low.log_density(math.log(x))


def fit_weibull_mixture(values: Sequence[float]) -> WeibullMixture | None:
    """The mixture that makes the values (above 0) likeliest; None where the fit does not converge."""
    logs = [math.log(value) for value in values]
    found = minimize(lambda point: _negative_log_likelihood(point, logs), _START, _LOWER, _UPPER)
    if not found.converged:
        return None
    weight, *numbers = found.point
    first, second = Weibull(*numbers[:2]), Weibull(*numbers[2:])
    if first.mean < second.mean:
        return WeibullMixture(1 - weight, second, first)
    return WeibullMixture(weight, first, second)


def _power(shape: float, log_ratio: float) -> float:
    """(x / scale) ** shape, kept finite."""
    return math.exp(min(shape * log_ratio, _LARGEST_EXPONENT))


def _negative_log_likelihood(point: Sequence[float], logs: Sequence[float]) -> tuple[float, list[float]]:
    """And its gradient, by weight, shape, scale, shape, scale."""
    weight = point[0]
    first, second = Weibull(point[1], point[2]), Weibull(point[3], point[4])
    value, gradient = 0.0, [0.0] * 5
    for log_x in logs:
        one = math.log(weight) + first.log_density(log_x)
        two = math.log(1 - weight) + second.log_density(log_x)
        both = max(one, two) + math.log1p(math.exp(-abs(one - two)))
        share_one, share_two = math.exp(one - both), math.exp(two - both)
        value -= both
        gradient[0] -= share_one / weight - share_two / (1 - weight)
        for i, share, component in ((1, share_one, first), (3, share_two, second)):
            by_shape, by_scale = component.log_density_gradient(log_x)
            gradient[i] -= share * by_shape
            gradient[i + 1] -= share * by_scale
    return value, gradient

"""How sure a mean, a quantile and a rank correlation are where values come in clusters: the tokens of one text.

Neighbouring tokens are alike, so an interval that took them for independent would be too narrow. Whole clusters are
the unit here. `clusters` holds a number from 0 on for each value; each number occurs.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["bootstrap_mean", "bootstrap_quantile", "mean_error", "spearman"]

Values = NDArray[np.float64]
Clusters = NDArray[np.int64]

_TAILS = (0.025, 0.975)


def mean_error(values: Values, clusters: Clusters) -> float | None:
    """The standard error of the mean, as of a ratio of sums over clusters (Cochran 1977, section 6.3); None for one."""
    deviations = np.bincount(clusters, values - values.mean())
    count = len(deviations)
    if count < 2:
        return None
    return math.sqrt(count / (count - 1) * float(deviations @ deviations)) / len(values)


def bootstrap_mean(values: Values, clusters: Clusters, *, rounds: int = 1000, seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile interval of the mean over clusters drawn with replacement."""
    sums, sizes = np.bincount(clusters, values), np.bincount(clusters)
    means = [float(drawn @ sums / (drawn @ sizes)) for drawn in _resampled(len(sums), rounds, seed)]
    return _interval(means)


def bootstrap_quantile(
    values: Values, clusters: Clusters, share: float, *, rounds: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Likewise of the value that `share` of all values do not exceed."""
    order = np.argsort(values)
    ranked, owners = values[order], clusters[order]
    found = []
    for drawn in _resampled(int(clusters.max()) + 1, rounds, seed):
        reached = np.cumsum(drawn[owners])
        found.append(float(ranked[np.searchsorted(reached, share * reached[-1])]))
    return _interval(found)


def spearman(first: Values, second: Values) -> float | None:
    """The correlation of ranks, ties sharing theirs (Spearman 1904); None where one side never changes."""
    ranks = np.array([_mid_ranks(first), _mid_ranks(second)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    sizes = np.sqrt((ranks**2).sum(axis=1))
    return float(ranks[0] @ ranks[1] / sizes.prod()) if sizes.all() else None


def _mid_ranks(values: Values) -> Values:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    middle: Values = ends - (counts - 1) / 2
    return middle[places]


def _resampled(count: int, rounds: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """How often each cluster is drawn."""
    dice = np.random.default_rng(seed)
    for _ in range(rounds):
        yield dice.multinomial(count, np.full(count, 1 / count))


def _interval(found: list[float]) -> tuple[float, float]:
    low, high = np.quantile(found, _TAILS)
    return float(low), float(high)

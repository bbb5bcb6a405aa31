"""How sure a difference is: intervals for one strategy, tests for two on the same questions."""

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["mcnemar", "paired_bootstrap", "wilson"]

_NORMAL_QUANTILE = 1.959963984540054  # of 97.5 %


def wilson(right: int, count: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927)."""
    z = _NORMAL_QUANTILE
    share = right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def paired_bootstrap(first: Sequence[bool], second: Sequence[bool]) -> tuple[float, float]:
    """The 95 % percentile interval of mean(first) - mean(second) over questions drawn with replacement.

    Nothing is drawn: of `count` differences of +1, 0 or -1 the bootstrap's distribution is the `count`-th power of
    theirs, and this is what the usual thousands of rounds only estimate.
    """
    differences = np.array([int(a) - int(b) for a, b in zip(first, second, strict=True)])
    count = len(differences)
    shares = np.bincount(differences + 1, minlength=3) / count
    sums = np.cumsum(np.fft.irfft(np.fft.rfft(shares, 2 * count + 2) ** count, 2 * count + 2))
    low, high = np.searchsorted(sums, (0.025, 0.975)) - count
    return float(low / count), float(high / count)


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> float:
    """The two-sided p-value of the exact test (McNemar 1947): a fair coin for each question where the two differ."""
    pairs = list(zip(first, second, strict=True))
    only_first = sum(a and not b for a, b in pairs)
    only_second = sum(b and not a for a, b in pairs)
    count = only_first + only_second
    tail = sum(math.comb(count, i) for i in range(min(only_first, only_second) + 1))
    return min(1.0, tail / 2 ** (count - 1)) if count else 1.0

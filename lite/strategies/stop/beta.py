"""Probabilities of the Beta distribution and its kin, with nothing but `math`."""

import math

__all__ = ["beta_cdf", "beta_majority", "dirichlet_majority", "overtaking_probability", "student_tail"]

_MOST_TERMS = 500
_TINY = 1e-300


def beta_cdf(x: float, a: float, b: float) -> float:
    """P(X <= x) for X ~ Beta(a, b): the regularised incomplete beta function, by Lentz's continued fraction."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - beta_cdf(1 - x, b, a)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) - _log_beta(a, b)) / a
    c, d = 1.0, 1.0 / _away(1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, _MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        before = fraction
        for term in (even, odd):
            d, c = 1.0 / _away(1 + term * d), _away(1 + term / c)
            fraction *= c * d
        if abs(fraction - before) <= 1e-15 * abs(fraction):
            break
    return front * fraction


def student_tail(t: float, degrees: float) -> float:
    """P(T > t) for Student's t with that many degrees of freedom."""
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    tail = beta_cdf(degrees / (degrees + t * t), degrees / 2, 0.5) / 2
    return tail if t >= 0 else 1 - tail


def beta_majority(first: int, second: int) -> float:
    """P(p > 1/2) for p ~ Beta(first + 1, second + 1): that the leader of two counts leads in the long run."""
    flips = first + second + 1
    return float(sum(math.comb(flips, i) for i in range(first + 1)) / (1 << flips))


def dirichlet_majority(counts: list[int]) -> float:
    """P(p_0 is the largest) for p ~ Dirichlet(counts + 1): counts[0] is the leader's.

    p_i are Gamma(count + 1) variables over their sum, so it is the integral of the leader's density times the others'
    distribution functions, by Simpson's rule on [0, the leader's mean + 12 standard deviations].
    """
    shape = counts[0] + 1
    end, intervals = shape + 12 * math.sqrt(shape), 600
    total = 0.0
    for i in range(1, intervals + 1):
        x = end * i / intervals
        density = math.exp((shape - 1) * math.log(x) - x - math.lgamma(shape))
        below = math.prod(_gamma_cdf(x, count + 1) for count in counts[1:])
        total += (1 if i == intervals else 4 if i % 2 else 2) * density * below
    return min(1.0, total * end / intervals / 3)


def overtaking_probability(leader: int, other: int, remaining: int, *, wins_ties: bool = False) -> float:
    """P(other + K > leader + remaining - K), K of the remaining votes being the other's and the rest the leader's.

    K is Beta-binomial: its probability is Beta(other + 1, leader + 1), a uniform prior after the votes so far.
    Exactly 0 where the other cannot overtake. `wins_ties`: to draw level is enough.
    """
    least = max(0, (leader + remaining - other + (1 if wins_ties else 2)) // 2)
    prior = _log_beta(other + 1, leader + 1)
    return math.fsum(
        math.comb(remaining, k) * math.exp(_log_beta(other + 1 + k, leader + 1 + remaining - k) - prior)
        for k in range(least, remaining + 1)
    )


def _gamma_cdf(x: float, shape: int) -> float:
    """P(X <= x) for X ~ Gamma(shape, 1), of a whole shape: 1 - exp(-x) sum over i < shape of x^i / i!."""
    return max(0.0, 1.0 - math.fsum(math.exp(i * math.log(x) - x - math.lgamma(i + 1)) for i in range(shape)))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _away(value: float) -> float:
    """Not 0."""
    return value if abs(value) > _TINY else _TINY

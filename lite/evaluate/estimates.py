"""What one set of N samples a question says of every smaller number of samples.

A subset of k samples is as good as k samples drawn alone, so one run tells the whole curve. Where a closed form is
known it is used; votes are averaged over random orders of the samples, whose first k are a random subset.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from random import Random

__all__ = ["ORDERS", "Samples", "best_of_k", "mean_pass_at_k", "pass_at_k", "vote_at_k"]

ORDERS = 100
"""Random orders of a question's samples that a vote is averaged over."""


@dataclass(frozen=True, slots=True)
class Samples:
    """One question's samples: which are right, which give the same answer (None: none), and how they score."""

    right: Sequence[bool]
    answers: Sequence[Hashable | None]
    scores: Sequence[float]  # higher is better; -inf where there is none
    seed: str  # of the random orders


def pass_at_k(num_samples: int, num_right: int, k: int) -> float:
    """The chance that one of k samples is right: 1 - C(n - c, k) / C(n, k), unbiased (arXiv:2107.03374, eq. 1)."""
    if not 1 <= k <= num_samples:
        raise ValueError(f"k must be from 1 to the {num_samples} samples, got {k}")
    return 1 - math.comb(num_samples - num_right, k) / math.comb(num_samples, k)


def mean_pass_at_k(questions: Sequence[Samples], k: int) -> float:
    """pass@k over all questions."""
    return _mean([pass_at_k(len(one.right), sum(one.right), k) for one in questions])


def best_of_k(samples: Samples, k: int) -> float:
    """The chance that the best-scored of k samples is right: that of rank r (from 0) is C(n - r - 1, k - 1) / C(n, k).

    Samples without an answer come last, equal scores go to the earliest.
    """
    count = len(samples.right)
    ranks = sorted(range(count), key=lambda i: (samples.answers[i] is None, -samples.scores[i], i))
    subsets = math.comb(count, k)
    return math.fsum(math.comb(count - rank - 1, k - 1) / subsets for rank, i in enumerate(ranks) if samples.right[i])


def vote_at_k(samples: Samples, *, weighted: bool) -> list[float]:
    """For k from 1 to n the chance that a vote of k samples is right: one a sample, or its score where `weighted`.

    Ties go to the answer that was given first. All n samples vote in their own order, as they do live.
    """
    count = len(samples.right)
    weights = [max(score, 0.0) if weighted else 1.0 for score in samples.scores]
    dice = Random(f"vote {samples.seed}")
    totals = [0.0] * count
    for _ in range(ORDERS):
        order = dice.sample(range(count), count)
        for k, won in enumerate(_wins(samples, order, weights)):
            totals[k] += won
    chances = [total / ORDERS for total in totals]
    return [*chances[:-1], float(_wins(samples, range(count), weights)[-1])]


def _wins(samples: Samples, order: Sequence[int], weights: Sequence[float]) -> list[bool]:
    """Whether the vote is right after each of the samples in this order."""
    votes: dict[Hashable, float] = {}
    right: dict[Hashable, bool] = {}
    leader: Hashable | None = None
    wins = []
    for i in order:
        answer = samples.answers[i]
        if answer is not None:
            votes[answer] = votes.get(answer, 0.0) + weights[i]
            right.setdefault(answer, samples.right[i])
            leader = _leader(votes, leader, answer)
        wins.append(leader is not None and right[leader])
    return wins


def _leader(votes: dict[Hashable, float], leader: Hashable | None, risen: Hashable) -> Hashable:
    """The answer with the most votes after one has risen; dicts keep who came first."""
    if leader is None or votes[risen] > votes[leader]:
        return risen
    if votes[risen] == votes[leader]:
        return next(answer for answer in votes if votes[answer] == votes[leader])
    return leader


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)

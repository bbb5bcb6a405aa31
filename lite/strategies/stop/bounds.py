"""Whether the leader of a vote can still be overtaken, whatever the samples that are not read yet will say.

A sample that is open may give any answer, or a new one, or none, with any weight up to its most. Ties go to the
answer whose first sample has the lowest number, as in `elect`.
"""

import math
from collections.abc import Hashable, Mapping, Sequence

from lite.strategies.verdict import Election, rank_value

__all__ = ["is_safe", "is_safe_borda"]

_SLACK = 1e-9  # of the votes compared: sums of floats in another order are not to decide


def is_safe(election: Election, open_weights: Mapping[int, float], answers: Sequence[Hashable | None]) -> bool:
    """Whether the winner stays, when open sample i may add up to `open_weights[i]` to any one answer.

    The worst case is that all of them give their most to one challenger.
    """
    if not election.total:
        return False
    coming = math.fsum(open_weights.values())
    lead = election.total - coming
    rivals = [(total, first) for first, total in election.totals.items() if first != election.winner]
    rivals.append((0.0, len(answers)))
    return all(_stays(lead - total, election, first, open_weights, coming) for total, first in rivals)


def is_safe_borda(
    election: Election,
    open_samples: Mapping[int, float],
    answers: Sequence[Hashable | None],
    confidences: Sequence[float],
    power: float,
) -> bool:
    """`is_safe` for the Borda count v(r) = (N - r + 1)^p, where open samples may also take any rank.

    The worst case is found exactly: open samples are inserted into the ranking of those that are read where that
    costs the leader most against each challenger.
    """
    if not election.total:
        return False
    if not open_samples:
        return True
    known = [i for i in range(len(answers)) if i not in open_samples]
    ranking = sorted(known, key=lambda i: rank_value(confidences[i]), reverse=True)
    leader = answers[election.winner]
    rivals: set[Hashable | None] = {answers[i] for i in known} - {leader, None}
    signs = [[(answers[i] == leader) - (answers[i] == rival) for i in ranking] for rival in rivals or {object()}]
    return all(_least_lead(given, len(open_samples), power) > _SLACK for given in signs)


def _least_lead(signs: Sequence[int], coming: int, power: float) -> float:
    """The least sum of sign * v(rank), with `coming` samples of sign -1 put anywhere among the given, in order.

    best[j] is the least sum over the samples seen so far when j of the coming ones stand before or between them.
    """
    count = len(signs) + coming
    votes = [float(count - rank) ** power for rank in range(count)]
    best = [-math.fsum(votes[:j]) for j in range(coming + 1)]
    for seen, sign in enumerate(signs):
        best = [total + sign * votes[seen + j] for j, total in enumerate(best)]
        for j in range(1, coming + 1):
            best[j] = min(best[j], best[j - 1] - votes[seen + j])
    return best[coming]


def _stays(lead: float, election: Election, rival: int, open_weights: Mapping[int, float], coming: float) -> bool:
    """A lead, or a tie of whole numbers that goes to the leader for its earlier sample."""
    if lead > _SLACK * max(1.0, election.total):
        return True
    whole = all(weight.is_integer() for weight in (election.total, coming, lead))
    return lead == 0 and whole and election.winner < min([rival, *open_weights])

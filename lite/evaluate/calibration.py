"""Whether a score tells right answers from wrong ones, and whether a confidence means what it says."""

import math
from collections.abc import Sequence

__all__ = ["auroc", "expected_calibration_error", "risk_coverage"]


def auroc(scores: Sequence[float], right: Sequence[bool]) -> float | None:
    """The chance that a right one scores above a wrong one, ties counting half; None without both kinds.

    The Mann-Whitney statistic, by mid-ranks.
    """
    positive = sum(right)
    negative = len(right) - positive
    if not positive or not negative:
        return None
    order = sorted(range(len(scores)), key=scores.__getitem__)
    total, start = 0.0, 0
    while start < len(order):
        end = start
        while end < len(order) and scores[order[end]] == scores[order[start]]:
            end += 1
        total += (start + end + 1) / 2 * sum(right[i] for i in order[start:end])
        start = end
    return (total - positive * (positive + 1) / 2) / (positive * negative)


def expected_calibration_error(confidences: Sequence[float], right: Sequence[bool], bins: int = 10) -> float | None:
    """The mean distance of confidence and accuracy in `bins` bins of equal width (arXiv:1706.04599, eq. 3)."""
    if not confidences:
        return None
    members: list[list[int]] = [[] for _ in range(bins)]
    for i, confidence in enumerate(confidences):
        members[min(int(confidence * bins), bins - 1)].append(i)
    gaps = (abs(math.fsum(confidences[i] - right[i] for i in found)) for found in members)
    return math.fsum(gaps) / len(confidences)


def risk_coverage(scores: Sequence[float], right: Sequence[bool]) -> list[float]:
    """The share of wrong ones among the 1, 2, ... n best-scored (arXiv:1705.08500); their mean is the AURC.

    Those of equal score are answered together, each group's share spread evenly over its places.
    """
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    risks: list[float] = []
    wrong = 0.0
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and scores[order[end]] == scores[order[start]]:
            end += 1
        share = sum(not right[i] for i in order[start:end]) / (end - start)
        risks.extend((wrong + share * (place - start + 1)) / (place + 1) for place in range(start, end))
        wrong += share * (end - start)
        start = end
    return risks

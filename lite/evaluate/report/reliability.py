"""Whether a strategy's confidence means what it says: the two curves of the report."""

from collections.abc import Sequence
from math import fsum

from lite.evaluate.calibration import risk_coverage
from lite.evaluate.log import Log, Plain
from lite.evaluate.significance import wilson

__all__ = ["reliability_of"]

_NUM_BINS = 10
_MOST_POINTS = 100


def reliability_of(log: Log, label: str) -> Plain | None:
    """The bins of the reliability diagram and the risk-coverage curve; None where no answer tells a confidence."""
    lines = [line for (_, name), line in log.answers.items() if name == label and line["confidence"] is not None]
    if not lines:
        return None
    confidences, right = [line["confidence"] for line in lines], [bool(line["right"]) for line in lines]
    return {"bins": _bins(confidences, right), "risks": _thinned(risk_coverage(confidences, right))}


def _bins(confidences: Sequence[float], right: Sequence[bool]) -> list[list[float]]:
    """Of each bin of equal width that has answers: how many, mean confidence, accuracy and its interval."""
    members: list[list[int]] = [[] for _ in range(_NUM_BINS)]
    for i, confidence in enumerate(confidences):
        members[min(int(confidence * _NUM_BINS), _NUM_BINS - 1)].append(i)
    bins = []
    for found in members:
        if found:
            count, correct = len(found), sum(right[i] for i in found)
            low, high = wilson(correct, count)
            bins.append([count, fsum(confidences[i] for i in found) / count, correct / count, low, high])
    return bins


def _thinned(risks: Sequence[float]) -> list[list[float]]:
    """(coverage, risk), no more points than a chart shows."""
    step = -(-len(risks) // _MOST_POINTS)
    kept = sorted({*range(0, len(risks), step), len(risks) - 1})
    return [[(i + 1) / len(risks), risks[i]] for i in kept]

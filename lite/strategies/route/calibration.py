"""From labelled questions to a router's threshold, and what it buys: risk-coverage and cost curves.

A question is kept by the small model where confidence >= threshold; one without a confidence never is. Thresholds come
from a wanted share of questions for the large model (a quantile), or from a wanted accuracy of what is kept, which then
holds on new questions of the same kind with probability 1 - error: selection with guaranteed risk (arXiv:1705.08500,
algorithm 1) with the exact binomial bound (Clopper and Pearson 1934), its error split over the steps of the search.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from itertools import pairwise
from typing import ClassVar

from lite.sampler import Ability, Flow, Question, Strategy
from lite.strategies.route.confidence import MEASURE_NEEDS, Measure, measured
from lite.strategies.route.watch import extended, watched

__all__ = [
    "Calibration",
    "Gauge",
    "Observation",
    "Point",
    "area",
    "curve",
    "data_hash",
    "point_at",
    "random_area",
    "threshold_for_accuracy",
    "threshold_for_share",
    "upper_bound",
]

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One labelled question."""

    confidence: float | None  # of the small strategy's answer
    small: bool  # whether that was right
    large: bool = True  # whether the large strategy's is
    small_cost: float = 0.0  # in whatever unit, the same for both
    large_cost: float = 1.0  # in addition, where it is asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What a threshold does on the observations."""

    threshold: float
    share: float  # of the questions that go to the large model: 1 - coverage
    risk: float  # the error rate of what is kept; 0 where nothing is
    accuracy: float  # of all answers
    cost: float  # a question, on average


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A threshold and where it comes from; as JSON it is the file that `--router` reads."""

    strategy: str  # the router's name: "cascade", "hybrid", ...
    measure: str
    threshold: float
    target: str  # in words: "share of remote calls 0.3"
    questions: int
    data: str  # sha256 of the labelled questions
    curve: tuple[Point, ...]
    model: str = ""  # the small one's name
    options: Mapping[str, object] = field(default_factory=dict)  # what it was asked with, as `lite.Options`

    def to_json(self) -> str:
        """Readable, and the same for the same data."""
        return json.dumps({"lite_calibration": VERSION} | asdict(self), indent=1, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Calibration":
        """Raises ValueError, in one line, for anything that `to_json` has not written."""
        try:
            plain = json.loads(text)
            if plain.pop("lite_calibration") != VERSION:
                raise ValueError("another version")
            points = tuple(Point(**point) for point in plain.pop("curve"))
            made = cls(**plain, curve=points)
            if not isinstance(made.options, dict) or not isinstance(made.strategy, str):
                raise ValueError("its options are no object, or its strategy is no name")
            if not math.isfinite(made.threshold):
                raise ValueError(f"its threshold is {made.threshold}")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"this is no calibration of lite (version {VERSION}): {error}") from error
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """The inner strategy, its answer's confidence put in place of the votes' (in nats for self-certainty)."""

    paper: ClassVar[str] = ""
    inner: Strategy
    measure: Measure = "votes"

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return extended(self.inner, MEASURE_NEEDS[self.measure])

    def __call__(self, question: Question) -> Flow:
        answer, branches = yield from watched(self.inner(question))
        confidence = yield from measured(question, answer, branches, self.measure)
        return replace(answer, confidence=None if answer.value is None else confidence)


def threshold_for_share(observations: Sequence[Observation], share: float) -> float:
    """The threshold that sends at most this share of the observations to the large model, as near as ties allow.

    Raises ValueError for a share outside [0, 1], or where no observation has a confidence.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be in [0, 1], got {share}")
    confidences = _confidences(observations)
    sent = min(len(observations), math.floor(share * len(observations) + 1e-9))
    without = len(observations) - len(confidences)
    kept = confidences[max(0, sent - without) :]
    return kept[0] if kept else math.nextafter(confidences[-1], math.inf)


def threshold_for_accuracy(observations: Sequence[Observation], accuracy: float, error: float = 0.1) -> float:
    """The lowest threshold found for which what is kept is this accurate with probability 1 - error.

    Raises ValueError for numbers outside (0, 1), or where the observations cannot show such an accuracy.
    """
    for name, value in (("accuracy", accuracy), ("error", error)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must be in (0, 1), got {value}")
    descending = _confidences(observations)[::-1]
    steps = max(1, math.ceil(math.log2(len(descending))))
    low, high, best, closest = 1, len(descending), None, 1.0
    for _ in range(steps):
        size = (low + high + 1) // 2
        threshold = descending[size - 1]
        kept = [one for one in observations if _is_kept(one, threshold)]
        bound = upper_bound(sum(not one.small for one in kept), len(kept), error / steps)
        closest = min(closest, bound)
        if bound <= 1 - accuracy:
            best, low = threshold if best is None else min(best, threshold), size
        else:
            high = size - 1
    if best is None:
        raise ValueError(
            f"{len(observations)} questions cannot show an accuracy of {accuracy} with error {error}: the best that"
            f" they show is {1 - closest:.3f}; ask for less, or label more"
        )
    return best


def upper_bound(failures: int, trials: int, error: float) -> float:
    """The largest failure rate under which so few failures still have probability `error` (Clopper and Pearson)."""
    if failures >= trials:
        return 1.0
    low, high = failures / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(failures, trials, middle) > error else (low, middle)
    return high


def curve(observations: Sequence[Observation]) -> tuple[Point, ...]:
    """What every threshold does that the observations can tell apart, from all kept to none: `point_at` of each."""
    confidences = sorted(set(_confidences(observations)))
    unsure_first = sorted(observations, key=lambda one: -math.inf if one.confidence is None else one.confidence)
    count, sent = len(observations), 0
    kept_right, sent_right = sum(one.small for one in observations), 0
    cost = math.fsum(one.small_cost for one in observations)
    points = []
    for threshold in (*confidences, math.nextafter(confidences[-1], math.inf)):
        while sent < count and not _is_kept(one := unsure_first[sent], threshold):
            sent += 1
            kept_right -= one.small
            sent_right += one.large
            cost += one.large_cost
        kept = count - sent
        risk = 1 - kept_right / kept if kept else 0.0
        accuracy = (kept_right + sent_right) / count
        points.append(Point(threshold=threshold, share=sent / count, risk=risk, accuracy=accuracy, cost=cost / count))
    return tuple(points)


def point_at(observations: Sequence[Observation], threshold: float) -> Point:
    """What one threshold does; raises ValueError without observations."""
    if not observations:
        raise ValueError("a router is judged by at least 1 labelled question, got 0")
    kept = [one for one in observations if _is_kept(one, threshold)]
    sent = [one for one in observations if not _is_kept(one, threshold)]
    count = len(observations)
    cost = math.fsum(one.small_cost for one in observations) + math.fsum(one.large_cost for one in sent)
    return Point(
        threshold=threshold,
        share=len(sent) / count,
        risk=sum(not one.small for one in kept) / len(kept) if kept else 0.0,
        accuracy=(sum(one.small for one in kept) + sum(one.large for one in sent)) / count,
        cost=cost / count,
    )


def area(points: Sequence[Point]) -> float:
    """The area under accuracy over share, from 0 to 1; where the curve begins above share 0, its first accuracy."""
    ordered = sorted(points, key=lambda point: point.share)
    first, last = ordered[0], ordered[-1]
    inside = sum((b.share - a.share) * (a.accuracy + b.accuracy) / 2 for a, b in pairwise(ordered))
    return first.share * first.accuracy + inside + (1 - last.share) * last.accuracy


def random_area(observations: Sequence[Observation]) -> float:
    """The same for a router that sends questions at random: the mean of the two models' accuracies."""
    return sum(one.small + one.large for one in observations) / (2 * len(observations))


def data_hash(lines: Iterable[str]) -> str:
    """sha256 of the labelled questions as they were given, a line each."""
    digest = sha256()
    for line in lines:
        digest.update(line.encode("utf-8") + b"\n")
    return digest.hexdigest()


def _is_kept(observation: Observation, threshold: float) -> bool:
    return observation.confidence is not None and observation.confidence >= threshold


def _confidences(observations: Sequence[Observation]) -> list[float]:
    known = sorted(one.confidence for one in observations if one.confidence is not None)
    if not known:
        raise ValueError(f"a threshold needs confidences, and none of the {len(observations)} observations has one")
    return known


def _at_most(failures: int, trials: int, rate: float) -> float:
    """The probability of at most so many failures, each of this rate."""
    if rate <= 0:
        return 1.0
    if rate >= 1:
        return float(failures >= trials)
    log_all = math.lgamma(trials + 1)
    return math.fsum(
        math.exp(
            log_all
            - math.lgamma(i + 1)
            - math.lgamma(trials - i + 1)
            + i * math.log(rate)
            + (trials - i) * math.log1p(-rate)
        )
        for i in range(failures + 1)
    )

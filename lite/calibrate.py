"""Calibrating a router: ask both strategies every labelled question, and settle the threshold.

observations = observe(questions, is_right, small=SelfCertainty(), large=Greedy(sampler="remote"), samplers=samplers)
made = calibrated(observations, strategy="cascade", measure="votes", data=data_hash(lines), share=0.3)
save(made, "router.json")
router = router_of(load("router.json"))
"""

import math
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path

from lite.ledger import Ledger
from lite.runner import run
from lite.sampler import Answer, Question, Sampler, Strategy
from lite.strategies.route.calibration import (
    Calibration,
    Gauge,
    Observation,
    Point,
    curve,
    threshold_for_accuracy,
    threshold_for_share,
)
from lite.strategies.route.confidence import Measure
from lite.strategies.route.watch import stands
from lite.strategies.settings import make

__all__ = ["calibrated", "load", "observe", "router_of", "save"]

_MOST_POINTS = 101  # of the curve in the file


def observe(
    questions: Sequence[Question],
    is_right: Callable[[int, Answer], bool],
    *,
    small: Strategy,
    large: Strategy,
    samplers: Mapping[str, Sampler],
    measure: Measure = "votes",
    cost: Callable[[Ledger], float] | None = None,
) -> list[Observation]:
    """Both strategies' answers to every question, judged. `cost` tells a ledger's; None: its money, or else its calls.

    A question that the large strategy could not be asked (its server failed) counts as one that it gets wrong.
    """
    price = cost or _price
    gauged = run(Gauge(inner=small, measure=measure), questions, samplers)
    asked = run(large, questions, samplers)
    return [
        Observation(
            confidence=own.confidence,
            small=is_right(i, own),
            large=stands(question, other) and is_right(i, other),
            small_cost=price(own.cost),
            large_cost=price(other.cost),
        )
        for i, (question, own, other) in enumerate(zip(questions, gauged, asked, strict=True))
    ]


def calibrated(
    observations: Sequence[Observation],
    *,
    strategy: str,
    measure: str,
    data: str,
    share: float | None = None,
    accuracy: float | None = None,
    error: float = 0.1,
) -> Calibration:
    """The threshold for a wanted share of calls to the large model, or for a wanted accuracy of what is kept.

    Raises ValueError unless one of the two is given, and as `threshold_for_share` and `threshold_for_accuracy` do.
    """
    if (share is None) == (accuracy is None):
        raise ValueError("give either share or accuracy: one of them settles the threshold")
    if share is not None:
        threshold, target = threshold_for_share(observations, share), f"at most {share:g} of the questions are sent"
    else:
        threshold = threshold_for_accuracy(observations, accuracy or 0.0, error)
        target = f"what is kept is at least {accuracy:g} accurate, with probability {1 - error:g}"
    return Calibration(
        strategy=strategy,
        measure=measure,
        threshold=threshold,
        target=target,
        questions=len(observations),
        data=data,
        curve=_thinned(curve(observations)),
    )


def router_of(calibration: Calibration, settings: Mapping[str, object] | None = None) -> Strategy:
    """The router with its calibrated threshold; `settings` are its others, as `lite.strategies.settings.make` takes."""
    chosen = {"measure": calibration.measure, "threshold": repr(calibration.threshold)}
    return make(calibration.strategy, settings={**(settings or {}), **chosen})


def save(calibration: Calibration, path: str | PathLike[str]) -> None:
    """Write the file, whole or not at all."""
    target = Path(path)
    beside = target.with_name(f".{target.name}.part")
    beside.write_text(calibration.to_json() + "\n", "utf-8")
    beside.replace(target)


def load(path: str | PathLike[str]) -> Calibration:
    """Read what `save` wrote. Raises ValueError, naming the file, for anything else, and OSError."""
    try:
        return Calibration.from_json(Path(path).read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _price(ledger: Ledger) -> float:
    return ledger.money or float(ledger.remote_calls)


def _thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    """Evenly chosen points, the first and the last among them."""
    step = max(1, math.ceil((len(points) - 1) / (_MOST_POINTS - 1)))
    chosen = list(points[::step])
    return tuple(chosen if chosen[-1] is points[-1] else [*chosen, points[-1]])

"""Calibrating a router: ask both strategies every labelled question, and settle the threshold.

observations = observe(questions, is_right, small=SelfCertainty(), large=Greedy(sampler="remote"), samplers=samplers)
made = calibrated(observations, strategy="cascade", measure="votes", data=data_hash(lines), share=0.3)
save(made, "router.json")
router = router_of(load("router.json"))
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from lite.errors import BackendError
from lite.ledger import Ledger
from lite.runner import run
from lite.sampler import Ability, Answer, Flow, Question, Sampler, Strategy
from lite.strategies.route.calibration import (
    Calibration,
    Gauge,
    Observation,
    Point,
    curve,
    threshold_for_accuracy,
    threshold_for_share,
)
from lite.strategies.route.cascade import Cascade
from lite.strategies.route.confidence import Measure
from lite.strategies.route.hybrid import Hybrid
from lite.strategies.route.watch import stands
from lite.strategies.settings import make

__all__ = ["calibrated", "load", "measure_of", "observe", "observe_router", "router_of", "save"]

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

    A question that the large strategy could not be asked (its server failed) counts as one that it gets wrong. Raises
    BackendError where it could be asked none.
    """
    return _observed(questions, is_right, Gauge(inner=small, measure=measure), large, samplers, cost or _price)


def observe_router(
    router: Strategy,
    questions: Sequence[Question],
    is_right: Callable[[int, Answer], bool],
    *,
    samplers: Mapping[str, Sampler],
    cost: Callable[[Ledger], float] | None = None,
) -> list[Observation]:
    """The same for a router's own two strategies and measure: a Cascade's or a Hybrid's, whatever its threshold.

    Raises ValueError for another strategy.
    """
    gauge, large = _parts(router)
    return _observed(questions, is_right, gauge, large, samplers, cost or _price)


def measure_of(router: Strategy) -> str:
    """What a router compares with its threshold. Raises ValueError for a strategy that is none, or cannot be set so."""
    _parts(router)
    return str(getattr(router, "measure"))  # noqa: B009  # of a Strategy nothing is known


def calibrated(
    observations: Sequence[Observation],
    *,
    strategy: str,
    measure: str,
    data: str,
    share: float | None = None,
    accuracy: float | None = None,
    error: float = 0.1,
    model: str = "",
    options: Mapping[str, object] | None = None,
) -> Calibration:
    """The threshold for a wanted share of calls to the large model, or for a wanted accuracy of what is kept.

    `model` and `options` are kept in the file: with others the threshold means nothing.
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
        model=model,
        options=options or {},
    )


def router_of(calibration: Calibration, settings: Mapping[str, object] | None = None) -> Strategy:
    """The router with its calibrated threshold; `settings` are its others, as `lite.strategies.settings.make` takes.

    `calibration.options` are left to the caller: `lite run --router` applies them.
    """
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Glimpse:
    """A hybrid that keeps every question, with its glimpse's score as the confidence."""

    router: Hybrid

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return self.router.needs

    def __call__(self, question: Question) -> Flow:
        router = replace(self.router, threshold=-math.inf, large=self.router.small)
        answer = yield from router(question)
        return replace(answer, confidence=answer.candidates[0].score)


def _parts(router: Strategy) -> tuple[Strategy, Strategy]:
    """What tells the small strategy's answer and the confidence in it, and the large strategy."""
    if isinstance(router, Cascade):
        return Gauge(inner=router.small, measure=router.measure), router.large
    if isinstance(router, Hybrid):
        return _Glimpse(router=router), router.large
    raise ValueError(f"{type(router).__name__} has no threshold between two models: cascade and hybrid have")


def _observed(
    questions: Sequence[Question],
    is_right: Callable[[int, Answer], bool],
    gauge: Strategy,
    large: Strategy,
    samplers: Mapping[str, Sampler],
    price: Callable[[Ledger], float],
) -> list[Observation]:
    asked = run(large, questions, samplers)  # first: it is what may fail
    if not any(stands(question, answer) for question, answer in zip(questions, asked, strict=True)):
        way = "`lite run --strategy greedy -o sampler=remote` tells why"
        raise BackendError(f"the large model answered none of {len(questions)} questions: {way}")
    gauged = run(gauge, questions, samplers)
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


def _price(ledger: Ledger) -> float:
    return ledger.money or float(ledger.remote_calls)


def _thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    """Evenly chosen points, the first and the last among them."""
    step = max(1, math.ceil((len(points) - 1) / (_MOST_POINTS - 1)))
    chosen = list(points[::step])
    return tuple(chosen if chosen[-1] is points[-1] else [*chosen, points[-1]])

"""The figures of each strategy: a line of the table, a point of the charts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lite.evaluate.log import Plain

__all__ = ["Row", "front_of", "rows_of"]

_BASELINE = "greedy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Costs are means a question. None is what the log does not tell."""

    strategy: str
    questions: int
    right: int
    accuracy: float
    accuracy_low: float  # of the 95 % interval
    accuracy_high: float
    samples: float  # branches
    tokens: float  # sampled: drawn and discarded
    prompt_tokens: float  # computed: prompt and forced text
    discarded_share: float
    tokens_per_correct: float | None
    seconds: float | None  # to the answer
    remote_calls: float
    money: float
    unanswered: int
    errors: int
    baseline: str | None  # which the next four compare with, on the same questions
    difference: float | None  # of the accuracies
    difference_low: float | None
    difference_high: float | None
    p_value: float | None
    confidence_auroc: float | None
    confidence_ece: float | None
    confidence_aurc: float | None
    score_auroc: float | None  # of the samples' scores, within a question
    on_front: bool  # none is as accurate for fewer tokens


def rows_of(summary: Plain, measured: Plain) -> list[Row]:
    """In the summary's order. The baseline is greedy, or else the first strategy."""
    told = summary["strategies"]
    names = [one["strategy"] for one in told]
    baseline = _BASELINE if _BASELINE in names else next(iter(names), None)
    front = front_of([(_tokens(one), one["accuracy"]) for one in told])
    pairs = {frozenset((pair["first"], pair["second"])): pair for pair in summary["pairs"]}
    seconds = measured["seconds_to_answer"]
    return [
        Row(
            **_accuracy(one),
            **_costs(one, seconds.get(one["strategy"])),
            **_against(one["strategy"], baseline, pairs),
            **_calibration(one),
            on_front=i in front,
        )
        for i, one in enumerate(told)
    ]


def front_of(points: Sequence[tuple[float, float]]) -> frozenset[int]:
    """The points (cost, gain) that no other point beats in one and reaches in the other; of equal ones the first."""
    best, front = -math.inf, []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i)):
        if points[i][1] > best:
            best = points[i][1]
            front.append(i)
    return frozenset(front)


def _tokens(one: Plain) -> float:
    return float(one["mean_cost"]["drawn_tokens"] + one["mean_cost"]["discarded_tokens"])


def _accuracy(one: Plain) -> Plain:
    plain = {name: one[name] for name in ("strategy", "questions", "right", "accuracy", "unanswered", "errors")}
    return {**plain, "accuracy_low": one["interval"][0], "accuracy_high": one["interval"][1]}


def _costs(one: Plain, seconds: float | None) -> Plain:
    cost = one["mean_cost"]
    return {
        "samples": cost["branches"],
        "tokens": _tokens(one),
        "prompt_tokens": cost["prompt_tokens"] + cost["forced_tokens"],
        "discarded_share": one["discarded_share"],
        "tokens_per_correct": one["tokens_per_correct"],
        "seconds": seconds,
        "remote_calls": cost["remote_calls"],
        "money": cost["money"],
    }


def _against(name: str, baseline: str | None, pairs: Mapping[frozenset[str], Plain]) -> Plain:
    pair = pairs.get(frozenset((name, str(baseline)))) if name != baseline else None
    if pair is None or pair["difference"] is None:
        return {
            "baseline": None,
            "difference": None,
            "difference_low": None,
            "difference_high": None,
            "p_value": None,
        }
    sign = 1 if pair["first"] == name else -1
    low, high = sorted(sign * end + 0.0 for end in pair["interval"])  # + 0.0: no negative zero
    return {
        "baseline": baseline,
        "difference": sign * pair["difference"],
        "difference_low": low,
        "difference_high": high,
        "p_value": pair["p_value"],
    }


def _calibration(one: Plain) -> Plain:
    confidence, score = one["confidence"] or {}, one["score"] or {}
    return {
        **{f"confidence_{name}": confidence.get(name) for name in ("auroc", "ece", "aurc")},
        "score_auroc": score.get("auroc_within"),
    }

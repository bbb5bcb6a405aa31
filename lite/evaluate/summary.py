"""What a log says of its strategies. Of the same answers it is the same to the last byte, however they were drawn.

What differs from run to run (seconds, joules, tokens drawn ahead of a decision) is `measured`, kept apart.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields

from lite.answers import group
from lite.evaluate.calibration import auroc, expected_calibration_error, risk_coverage
from lite.evaluate.estimates import Samples, best_of_k, mean_pass_at_k, vote_at_k
from lite.evaluate.log import Log, Place, Plain
from lite.evaluate.significance import mcnemar, paired_bootstrap, wilson
from lite.ledger import Ledger

__all__ = ["measured", "summarise"]

_COVERAGES = (0.1, 0.25, 0.5, 0.75, 1.0)


def summarise(log: Log, labels: Sequence[str] | None = None, questions: Iterable[str] | None = None) -> Plain:
    """Figures of each strategy, of each pair, and curves over the number of samples; for JSON.

    `labels` and `questions` choose and order what is looked at (None: all that the log holds).
    """
    chosen = tuple(log.labels if labels is None else labels)
    wanted = set(log.items if questions is None else questions)
    names = [name for name in log.items if name in wanted]
    by_label = {label: {name: line for name in names if (line := log.answers.get((name, label)))} for label in chosen}
    by_label = {label: lines for label, lines in by_label.items() if lines}
    return {
        "task": log.head["task"],
        "model": log.head["model"],
        "checker": log.head["checker"],
        "questions": len(names),
        "strategies": [_strategy(label, list(lines.values())) for label, lines in by_label.items()],
        "pairs": [
            _pair(first, by_label[first], second, by_label[second])
            for i, first in enumerate(by_label)
            for second in list(by_label)[i + 1 :]
        ],
        "curves": _curves(log, by_label),
    }


def measured(log: Log, labels: Sequence[str] | None = None) -> Plain:
    """What the sessions took: seconds, joules, tokens sampled; and each strategy's mean seconds to an answer.

    The strategies share the samples and the machine, so joules and total seconds are those of all together.
    """
    last: dict[str, Plain] = {}
    for line in log.answers.values():
        if line.get("clock", -1.0) >= last.get(line.get("session", ""), {}).get("clock", 0.0):
            last[line["session"]] = line
    seconds = math.fsum(line["clock"] for line in last.values())
    sampled = sum(line["sampled"] for line in last.values())
    joules = [line["joules"] for line in last.values()]
    known = None if not joules or None in joules else math.fsum(joules)
    chosen = log.labels if labels is None else labels
    latencies = {label: [line["seconds"] for line in _lines(log, label) if "seconds" in line] for label in chosen}
    return {
        "seconds": seconds,
        "sampled_tokens": sampled,
        "tokens_per_second": sampled / seconds if seconds else None,
        "joules": known,
        "joules_per_token": known / sampled if known is not None and sampled else None,
        "seconds_to_answer": {label: _mean(values) for label, values in latencies.items()},
    }


def _lines(log: Log, label: str) -> list[Plain]:
    return [line for (_, name), line in log.answers.items() if name == label]


def _strategy(label: str, lines: Sequence[Plain]) -> Plain:
    right = [bool(line["right"]) for line in lines]
    costs = [Ledger(**line["cost"]) for line in lines]
    total = sum(costs, Ledger())
    low, high = wilson(sum(right), len(right))
    sampled = total.drawn_tokens + total.discarded_tokens
    return {
        "strategy": label,
        "questions": len(lines),
        "right": sum(right),
        "accuracy": sum(right) / len(right),
        "interval": [low, high],
        "unanswered": sum(line["value"] is None for line in lines),
        "errors": sum("error" in line for line in lines),
        "unserved": sum(_is_unserved(line) for line in lines),
        "mean_cost": _mean_cost(costs),
        "tokens_per_correct": sampled / sum(right) if sum(right) else None,
        "cost_of_pass": _cost_of_pass(total, sum(right)),
        "discarded_share": total.discarded_tokens / sampled if sampled else 0.0,
        "confidence": _calibration(lines),
        "score": _sample_scores(lines),
    }


def _is_unserved(line: Plain) -> bool:
    """Whether one who was asked did not serve: a server failed, or the user's rules kept the question here."""
    return any(one["reason"] in ("failed", "withheld") for one in line["candidates"])


def _mean_cost(costs: Sequence[Ledger]) -> Plain:
    names = [field.name for field in fields(Ledger) if field.name not in ("seconds", "joules")]
    return {name: math.fsum(getattr(cost, name) for cost in costs) / len(costs) for name in names}


def _cost_of_pass(total: Ledger, right: int) -> Plain | None:
    """The expected cost of a right answer: mean cost / accuracy (arXiv:2504.13359, eq. 1), of all computed tokens."""
    if not right:
        return None
    computed = total.prompt_tokens + total.forced_tokens + total.drawn_tokens + total.discarded_tokens
    return {"tokens": computed / right, "money": total.money / right}


def _calibration(lines: Sequence[Plain]) -> Plain | None:
    """Of the answers' confidence; None where there is none."""
    told = [(line["confidence"], bool(line["right"])) for line in lines if line["confidence"] is not None]
    if not told:
        return None
    confidences, right = [pair[0] for pair in told], [pair[1] for pair in told]
    risks = risk_coverage(confidences, right)
    return {
        "answers": len(told),
        "auroc": auroc(confidences, right),
        "ece": expected_calibration_error(confidences, right),
        "aurc": _mean(risks),
        "risk_at_coverage": [[share, risks[max(0, math.ceil(share * len(risks)) - 1)]] for share in _COVERAGES],
    }


def _sample_scores(lines: Sequence[Plain]) -> Plain | None:
    """Whether the strategy's score tells right samples from wrong ones: over all, and within a question."""
    pooled: list[tuple[float, bool]] = []
    within = []
    for line in lines:
        told = [(one["score"], bool(one["right"])) for one in line["candidates"] if one["score"] is not None]
        pooled.extend(told)
        area = auroc([pair[0] for pair in told], [pair[1] for pair in told])
        if area is not None:
            within.append(area)
    if not pooled:
        return None
    area = auroc([pair[0] for pair in pooled], [pair[1] for pair in pooled])
    return {"samples": len(pooled), "auroc": area, "auroc_within": _mean(within)}


def _pair(first: str, left: Mapping[str, Plain], second: str, right: Mapping[str, Plain]) -> Plain:
    """The first against the second on the questions that both have answered."""
    common = [name for name in left if name in right]
    a, b = ([bool(lines[name]["right"]) for name in common] for lines in (left, right))
    return {
        "first": first,
        "second": second,
        "questions": len(common),
        "only_first": sum(x and not y for x, y in zip(a, b, strict=True)),
        "only_second": sum(y and not x for x, y in zip(a, b, strict=True)),
        "difference": (sum(a) - sum(b)) / len(common) if common else None,
        "interval": list(paired_bootstrap(a, b)) if common else None,
        "p_value": mcnemar(a, b) if common else None,
    }


def _curves(log: Log, by_label: Mapping[str, Mapping[str, Plain]]) -> list[Plain]:
    """One for each set of whole, equally many samples, named by all strategies that looked at it."""
    pools: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    for label, lines in by_label.items():
        keys = tuple(_pool(log, name, line) for name, line in lines.items())
        if len({len(pool) for pool in keys}) == 1 and len(keys[0]) > 1:
            pools.setdefault(keys, []).append(label)
    curves = []
    for keys, labels in pools.items():
        names = by_label[labels[0]]
        samples = [_samples(log, name, pool) for name, pool in zip(names, keys, strict=True)]
        curves.append({"strategies": labels, **_curve(samples)})
    return curves


def _pool(log: Log, name: str, line: Plain) -> tuple[str, ...]:
    """The keys of an answer's samples; () unless each is a whole one and no fork."""
    places = log.places(name)
    keys = tuple(one["branch"] for one in line["candidates"])
    whole = all(
        one["branch"] in places
        and places[one["branch"]].is_root
        and places[one["branch"]].is_whole
        and one["tokens"] == places[one["branch"]].length
        for one in line["candidates"]
    )
    return keys if whole and len(set(keys)) == len(keys) else ()


def _samples(log: Log, name: str, keys: Sequence[str]) -> Samples:
    places = sorted((log.places(name)[key] for key in keys), key=lambda place: place.sample)
    return Samples(
        right=[place.right for place in places],
        answers=group([place.value for place in places]),
        scores=[_score(place) for place in places],
        seed=name,
    )


def _score(place: Place) -> float:
    """Self-certainty; without it the probability per token."""
    if place.mean_certainty is not None:
        return place.mean_certainty
    return -math.inf if place.mean_logprob is None else math.exp(place.mean_logprob)


def _curve(questions: Sequence[Samples]) -> Plain:
    """pass@k, maj@k, weighted maj@k and best-of-k for k from 1 to N, means over the questions."""
    count = len(questions[0].right)
    ks = range(1, count + 1)
    plain = [vote_at_k(one, weighted=False) for one in questions]
    weighted = [vote_at_k(one, weighted=True) for one in questions]
    return {
        "samples": count,
        "pass": [mean_pass_at_k(questions, k) for k in ks],
        "majority": _column_means(plain),
        "weighted": _column_means(weighted),
        "best": _column_means([[best_of_k(one, k) for k in ks] for one in questions]),
    }


def _column_means(rows: Sequence[Sequence[float]]) -> list[float]:
    return [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None

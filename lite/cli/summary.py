"""The summary of an evaluation, for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from lite.cli.rate import duration
from lite.cli.table import table

__all__ = ["measured_line", "summary_text"]


def summary_text(summary: Mapping[str, Any]) -> str:
    """Tables of the strategies, of each against the first, and of the curves."""
    model = summary["model"]
    head = f"{summary['task']['name']}: {summary['questions']} questions, {model['name']}"
    engine = f" ({model['engine']} {model['format']})".replace(" )", ")") if model["engine"] else ""
    rows = summary["strategies"]
    parts = [head + engine, _strategies(rows), _remote(rows), _pairs(summary), *map(_curve, summary["curves"])]
    return "\n\n".join(part for part in parts if part)


def measured_line(measured: Mapping[str, Any]) -> str:
    """What the sessions took, in one line."""
    parts = [f"{measured['sampled_tokens']} tokens in {duration(measured['seconds'])}"]
    if measured["tokens_per_second"]:
        parts.append(f"{measured['tokens_per_second']:.0f} tok/s")
    if measured["joules"] is not None:
        parts.append(f"{measured['joules']:.0f} J")
    return ", ".join(parts)


def _strategies(rows: Sequence[Mapping[str, Any]]) -> str:
    head = ("strategy", "right, %", "95 %", "tokens", "per right", "discarded", "AUROC", "ECE", "errors")
    return table(head, [_strategy(row) for row in rows], right=frozenset(range(1, len(head))))


def _strategy(row: Mapping[str, Any]) -> tuple[str, ...]:
    confidence = row["confidence"] or {"auroc": None, "ece": None}
    low, high = row["interval"]
    cost = row["mean_cost"]
    return (
        row["strategy"],
        f"{100 * row['accuracy']:.1f}",
        f"{100 * low:.1f}-{100 * high:.1f}",
        f"{cost['drawn_tokens'] + cost['discarded_tokens']:.0f}",
        _number(row["tokens_per_correct"], ".0f"),
        f"{100 * row['discarded_share']:.1f} %",
        _number(confidence["auroc"], ".2f"),
        _number(confidence["ece"], ".2f"),
        str(row["errors"]),
    )


def _remote(rows: Sequence[Mapping[str, Any]]) -> str:
    """What was asked of a remote model, and by whom."""
    asking = [row for row in rows if row["mean_cost"]["remote_calls"] or row["unserved"]]
    head = ("a question", "remote calls", "money", "questions that it did not serve")
    lines = [
        (
            row["strategy"],
            f"{row['mean_cost']['remote_calls']:.2f}",
            f"{row['mean_cost']['money']:.3g}",
            str(row["unserved"]),
        )
        for row in asking
    ]
    return table(head, lines, right=frozenset((1, 2, 3))) if asking else ""


def _pairs(summary: Mapping[str, Any]) -> str:
    """The others against the first, in points."""
    rows = [pair for pair in summary["pairs"] if pair["first"] == summary["strategies"][0]["strategy"]]
    if not rows:
        return ""
    head = ("against " + rows[0]["first"], "points", "95 %", "p (McNemar)")
    lines = [
        (
            pair["second"],
            _points(pair["difference"]),
            f"{_points(pair['interval'][1])} to {_points(pair['interval'][0])}",
            f"{pair['p_value']:.3g}",
        )
        for pair in rows
        if pair["questions"]
    ]
    return table(head, lines, right=frozenset((1, 2, 3)))


def _curve(curve: Mapping[str, Any]) -> str:
    count = curve["samples"]
    shown = sorted({k for k in (1, 2, 4, 8, 16, 32, 64, count) if k <= count})
    names = {"pass": "pass@k", "majority": "majority@k", "weighted": "weighted@k", "best": "best of k"}
    rows = [(title, *(f"{100 * curve[name][k - 1]:.1f}" for k in shown)) for name, title in names.items()]
    head = (f"{count} samples", *(f"k={k}" for k in shown))
    return table(head, rows, right=frozenset(range(1, len(head)))) + f"\n(from {', '.join(curve['strategies'])})"


def _points(difference: float) -> str:
    """How many points the second is better."""
    return f"{0.0 - 100 * difference:+.1f}"


def _number(value: float | None, spec: str) -> str:
    return "-" if value is None else format(value, spec)

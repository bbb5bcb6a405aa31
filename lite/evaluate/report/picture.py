"""The two main charts as one PNG, by matplotlib (extra `eval`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lite.errors import MissingExtra
from lite.evaluate.log import Plain
from lite.evaluate.report.rows import Row

__all__ = ["draw_picture", "figure_class", "require_matplotlib"]

_WHAT = "a picture of the report (--png)"
_BLUE, _GRAY, _GREEN, _VIOLET = "#1d5fb8", "#8b8d94", "#04735f", "#7a4fb5"
_CURVES = (
    ("pass", "any right (pass@k)", _GRAY, "--"),
    ("weighted", "weighted vote", _BLUE, "-"),
    ("majority", "majority vote", _GREEN, ":"),
    ("best", "best-scored", _VIOLET, "-."),
)


def require_matplotlib() -> None:
    """Raises MissingExtra where it is not installed."""
    figure_class(_WHAT)


def draw_picture(path: Path, rows: Sequence[Row], curves: Sequence[Plain], title: str) -> None:
    """Write the file: accuracy against tokens and, where there are curves, against samples."""
    panels = 2 if curves else 1
    figure = figure_class(_WHAT)(figsize=(6.4 * panels, 4.8), dpi=150, layout="constrained")
    figure.suptitle(title, parse_math=False)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _pareto(axes[0], rows)
    if curves:
        _curve(axes[1], max(curves, key=lambda curve: int(curve["samples"])))
    figure.savefig(path, format="png")


def _pareto(axes: Any, rows: Sequence[Row]) -> None:
    for row in rows:
        color = _BLUE if row.on_front else _GRAY
        below, above = row.accuracy - row.accuracy_low, row.accuracy_high - row.accuracy
        spread = [[100 * below], [100 * above]]
        axes.errorbar(max(row.tokens, 1), 100 * row.accuracy, yerr=spread, fmt="o", color=color, alpha=0.8, capsize=2)
        if row.on_front:
            axes.annotate(
                row.strategy,
                (max(row.tokens, 1), 100 * row.accuracy),
                xytext=(6, 5),
                textcoords="offset points",
                fontsize=8,
                parse_math=False,
            )
    front = sorted((max(row.tokens, 1), 100 * row.accuracy) for row in rows if row.on_front)
    axes.step([x for x, _ in front], [y for _, y in front], where="post", color=_BLUE, linestyle="--", linewidth=1)
    axes.set(xscale="log", xlabel="tokens sampled a question", ylabel="accuracy, %")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.grid(alpha=0.25)


def _curve(axes: Any, curve: Plain) -> None:
    for kind, name, color, style in _CURVES:
        values = [100 * value for value in curve[kind]]
        axes.plot(range(1, len(values) + 1), values, style, color=color, label=name)
    axes.set(xlabel="samples a question", ylabel="accuracy, %")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.25)


def figure_class(what: str) -> Any:
    """Matplotlib's, without pyplot: no window and no state of the process. Raises MissingExtra, which names `what`."""
    from importlib import import_module

    try:
        return import_module("matplotlib.figure").Figure
    except ImportError as error:
        raise MissingExtra(what, "eval") from error

"""What every format costs in bytes and does to distributions, certainty and answers, as one PNG (extra `eval`)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lite.evaluate.log import Plain
from lite.evaluate.report.picture import figure_class

__all__ = ["draw_plot", "require_plot"]

_COLORS = {"onnx": "#1d5fb8", "llama": "#04735f", "openvino": "#8a4fbf"}
_OTHER = "#7a4fb5"
Point = tuple[float, float, float]  # value, low, high


def require_plot() -> None:
    """Raises MissingExtra where matplotlib is not installed."""
    figure_class("the plot of a quantization report")


def draw_plot(path: Path, told: Plain) -> None:
    """Write the file: four panels over the size of the weights."""
    figure = figure_class("the plot of a quantization report")(figsize=(12.8, 9.6), dpi=130, layout="constrained")
    figure.suptitle(f"{told['model']['name']} against float32", parse_math=False)
    axes = figure.subplots(2, 2)
    panels: tuple[tuple[str, Callable[[Plain], Point]], ...] = (
        ("KL to float32, nats a token (95 % by bootstrap)", _divergence),
        ("self-certainty, shift a token, nats (95 %)", _shift),
        ("rank correlation of a sample's self-certainty", _correlation),
        ("majority vote, change of right answers, points (95 %, paired)", _accuracy),
    )
    for panel, (title, of) in zip(axes.flat, panels, strict=True):
        _panel(panel, title, told["formats"], of)
    axes[0, 0].set_yscale("log")
    for panel in axes[:, 1]:
        panel.axhline(0, color="#8b8d94", linewidth=1)
    for engine in dict.fromkeys(one["engine"] for one in told["formats"]):
        axes[0, 0].plot([], [], "o", color=_COLORS.get(engine, _OTHER), label=engine)
    axes[0, 0].legend(fontsize=8)
    figure.savefig(path, format="png")


def _panel(axes: Any, title: str, formats: Sequence[Plain], of: Callable[[Plain], Point]) -> None:
    for one in formats:
        value, low, high = of(one)
        color = _COLORS.get(one["engine"], _OTHER)
        size = one["bytes"] / 2**20
        axes.errorbar(size, value, yerr=[[value - low], [high - value]], fmt="o", color=color, alpha=0.8, capsize=2)
        axes.annotate(
            one["name"], (size, value), xytext=(5, 4), textcoords="offset points", fontsize=8, parse_math=False
        )
    axes.margins(x=0.15)
    axes.set(title=title, xlabel="weights, MiB", xscale="log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.grid(alpha=0.25)


def _divergence(one: Plain) -> Point:
    """A logarithm needs something above 0."""
    found = one["samples"]["distribution"]["kl_mean"]
    return max(found["value"], 1e-12), max(found["low"], 1e-12), max(found["high"], 1e-12)


def _shift(one: Plain) -> Point:
    found = one["samples"]["signals"]["certainty"]["token_shift"]
    half = 1.96 * (found["error"] or 0.0)
    return found["value"], found["value"] - half, found["value"] + half


def _correlation(one: Plain) -> Point:
    value = one["samples"]["signals"]["certainty"]["document_rank_correlation"] or 0.0
    return value, value, value


def _accuracy(one: Plain) -> Point:
    found = one["answers"]["majority"]["accuracy_change"]
    return 100 * found["value"], 100 * found["low"], 100 * found["high"]

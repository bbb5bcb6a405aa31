"""The tables of `lite quant-report`."""

from collections.abc import Callable, Sequence
from typing import Any

from lite.cli.table import human_bytes, table

__all__ = ["report_text"]

_Plain = dict[str, Any]

_MOST_NAMED = 2  # tensors in a line
_TEXTS = ("format", "engine", "tensors")  # columns that are no numbers


def report_text(told: _Plain) -> str:
    """Head, one table for each matter, and what became of tensors that could not have the wanted type."""
    formats: list[_Plain] = told["formats"]
    answers = [one["answers"] for one in formats]
    parts = [
        _head(told),
        _part("Weights", _WEIGHTS, formats),
        _part(_title("the samples", formats, "samples"), _DISTRIBUTION, [one["samples"] for one in formats], formats),
    ]
    if told["text"]:
        texts = [one["text"] for one in formats]
        parts.append(_part(_title(told["text"]["name"], formats, "text"), _DISTRIBUTION, texts, formats))
    parts += [
        _part("Signals on the same tokens, nats", _SIGNALS, [one["samples"] for one in formats], formats),
        _part("Samples drawn with the same random bits, and their majority vote", _ANSWERS, answers, formats),
        _part("The same samples by a self-certainty vote", _vote_columns("self-certainty"), answers, formats),
        *_fallback_lines(formats),
        _NOTES,
    ]
    return "\n\n".join(parts)


def _head(told: _Plain) -> str:
    model = told["model"]
    types = ", ".join(one["type"] for one in model["weights"])
    engines = " and ".join(one["engine"] for one in told["references"])
    thought = {None: "", True: ", thinking", False: ", not thinking"}[told["think"]]
    return (
        f"{model['name']}: {model['parameters'] / 1e6:.1f} M parameters, its own file {types}\n"
        f"reference: its weights in float32 on {engines}; {told['questions']} questions, "
        f"{told['samples']} samples each{thought}, temperature {told['temperature']:g}, seed {told['seed']}"
    )


def _title(what: str, formats: Sequence[_Plain], part: str) -> str:
    found = formats[0][part]["distribution"]
    return f"Distributions on {what}: {found['tokens']} tokens, float32's loss {found['reference_nll']:.4f} nats"


_Column = tuple[str, Callable[[_Plain], str]]


def _part(
    title: str, columns: Sequence[_Column], values: Sequence[_Plain], formats: Sequence[_Plain] | None = None
) -> str:
    named = zip(formats or values, values, strict=True)
    rows = [(one["name"], *(of(value) for _, of in columns)) for one, value in named]
    names = ("format", *(name for name, _ in columns))
    right = {place for place, name in enumerate(names) if name not in _TEXTS}
    return f"{title}\n{table(names, rows, right=frozenset(right))}"


def _weights(one: _Plain) -> str:
    return ", ".join(
        f"{part['type']} {human_bytes(part['num_bytes'])} ({part['num_tensors']})" for part in one["weights"]
    )


def _error(found: _Plain, digits: int = 5) -> str:
    error = "?" if found["error"] is None else f"{found['error']:.{digits}f}"
    return f"{found['value']:+.{digits}f} ± {error}"


def _interval(found: _Plain) -> str:
    return f"{found['value']:.3g} ({found['low']:.3g}-{found['high']:.3g})"


def _percent(found: _Plain, digits: int = 1) -> str:
    return f"{100 * found['value']:.{digits}f} ({100 * found['low']:.{digits}f}-{100 * found['high']:.{digits}f})"


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


_WEIGHTS: tuple[_Column, ...] = (
    ("engine", lambda one: str(one["engine"])),
    ("size", lambda one: human_bytes(one["bytes"])),
    ("bits a weight", lambda one: f"{one['bits_a_weight']:.2f}"),
    ("fallbacks", lambda one: str(len(one["fallbacks"]))),
    ("tensors", _weights),
)
_DISTRIBUTION: tuple[_Column, ...] = (
    ("loss change ± error", lambda one: _error(one["distribution"]["nll_change"])),
    ("KL mean", lambda one: _interval(one["distribution"]["kl_mean"])),
    ("KL 99 %", lambda one: _interval(one["distribution"]["kl_p99"])),
    ("same best token, %", lambda one: _percent(one["distribution"]["same_best"], 2)),
)
_SIGNALS: tuple[_Column, ...] = (
    ("certainty shift", lambda one: _error(one["signals"]["certainty"]["token_shift"], 4)),
    ("rank corr. token", lambda one: _number(one["signals"]["certainty"]["token_rank_correlation"])),
    ("sample", lambda one: _number(one["signals"]["certainty"]["document_rank_correlation"])),
    ("entropy shift", lambda one: _error(one["signals"]["entropy"]["token_shift"], 4)),
    ("rank corr. token", lambda one: _number(one["signals"]["entropy"]["token_rank_correlation"])),
    ("sample", lambda one: _number(one["signals"]["entropy"]["document_rank_correlation"])),
    ("AUROC", lambda one: f"{_number(one['auroc']['candidate'], 3)} of {_number(one['auroc']['reference'], 3)}"),
    ("vote changes, %", lambda one: _percent(one["votes"]["self-certainty"]["changed_share"])),
    ("its share", lambda one: _error(one["votes"]["self-certainty"]["share_shift"], 4)),
)


def _vote_columns(rule: str) -> tuple[_Column, ...]:
    return (
        ("vote right, %", lambda one: _percent(one[rule]["accuracy"])),
        ("of float32", lambda one: f"{100 * one[rule]['reference_accuracy']['value']:.1f}"),
        ("change, points", lambda one: _points(one[rule]["accuracy_change"])),
        ("p", lambda one: f"{one[rule]['mcnemar_p']:.2g}"),
        ("other answer, %", lambda one: _percent(one[rule]["changed_share"])),
        ("its share", lambda one: _error(one[rule]["share_shift"], 3)),
    )


def _error_points(found: _Plain) -> str:
    return f"{100 * found['value']:+.1f} ± {100 * (found['error'] or 0.0):.1f}"


def _points(found: _Plain) -> str:
    return f"{100 * found['value']:+.1f} ({100 * found['low']:+.1f} to {100 * found['high']:+.1f})"


_ANSWERS: tuple[_Column, ...] = (
    ("same tokens, %", lambda one: f"{100 * one['identical_samples']:.1f}"),
    ("samples right, %", lambda one: f"{100 * one['sample_accuracy']['candidate']:.1f}"),
    ("change, points", lambda one: _error_points(one["sample_accuracy"]["change"])),
    *_vote_columns("majority"),
)


def _fallback_lines(formats: Sequence[_Plain]) -> list[str]:
    """Which tensors llama.cpp gave another type without a word."""
    lines = []
    for one in formats:
        kinds: dict[tuple[str, str], list[str]] = {}
        for fallback in one["fallbacks"]:
            kinds.setdefault((fallback["wanted"], fallback["got"]), []).append(fallback["tensor"])
        lines += [
            f"{one['name']}: {got}, not {wanted}, whose blocks their rows do not fill, in {_named(names)}"
            for (wanted, got), names in kinds.items()
        ]
    return ["\n".join(lines)] if lines else []


def _named(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


_NOTES = """\
Errors and intervals (95 %) take a question's samples, or a piece of text, as one: tokens within are alike.
Changes are paired with the float32 model of the same engine. Formats of llama.cpp and OpenVINO are measured as they
run, with their 16-bit cache."""

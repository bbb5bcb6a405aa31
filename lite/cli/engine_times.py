"""`lite doctor --calibrate`: how long a step of N samples takes on each engine, and which one `auto` then takes."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lite.cli.table import table
from lite.errors import LiteError

if TYPE_CHECKING:
    from lite.engine_choice import Measured

__all__ = ["calibrated"]

_MOST_SAMPLES = 32

_NOTE = """
`--backend auto` goes by this from now on. The engines do not compute with the same numbers: onnx and openvino int8-row
round the file's weights anew, llama takes them as the file holds them. Each answer names the engine and the format that
drew it; --backend and --format decide otherwise."""


def calibrated(model: str | None, *, as_json: bool) -> str:
    """Measure a model on each engine, keep the figures, and tell them. Raises LiteError."""
    from lite.registry import measure_engines

    try:
        measured = measure_engines(model, _MOST_SAMPLES)
    except OSError as error:
        raise LiteError(
            f"the figures cannot be kept ({error.strerror}): set LITE_CACHE_DIR to a folder that can"
        ) from None
    return json.dumps(_plain(measured)) if as_json else f"{_table(measured)}\n{_NOTE}"


def _table(measured: "Sequence[Measured]") -> str:
    from lite.engine_choice import fastest

    head = ("samples", *(f"{one.engine} {one.format}, ms a step" for one in measured), "auto takes")
    rows = [
        (str(size), *(f"{1000 * one.timings.of(size):.2f}" for one in measured), fastest(measured, size).engine)
        for size in measured[0].timings.seconds
    ]
    return table(head, rows, right=frozenset(range(len(measured) + 1)))


def _plain(measured: "Sequence[Measured]") -> dict[str, object]:
    from lite.engine_choice import fastest

    sizes = measured[0].timings.seconds
    return {
        "measured": [
            {
                "engine": one.engine,
                "format": one.format,
                "seconds_per_step": {str(size): one.timings.of(size) for size in sizes},
            }
            for one in measured
        ],
        "auto": {size: fastest(measured, size).engine for size in sizes},
    }

"""Quantising by llama.cpp, in a process of its own: `python -m lite.backends.cpu.llama_quantize < order.json`.

llama.cpp ends the process where it meets what it does not expect; this one may. The order is a JSON object with the
keys of `Order`; the answer, stdout's last line, is one with those of `Outcome`.
"""

import ctypes
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, TypedDict

import llama_cpp.llama_cpp as llama
import numpy as np

from lite.backends.cpu.cores import physical_cores
from lite.quant.imatrix import ImportanceMatrix, read_imatrix

__all__ = ["Order", "Outcome", "obey"]

_ERROR = 4  # llama.cpp's level of a log line
_DENIED = re.compile(r"warning: (\S+) +- ncols .* \(required for type +(\S+)\)")
_errors: list[str] = []
_denied: dict[str, str] = {}


class Order(TypedDict):
    """What is to be done; types and formats are ggml's and llama.cpp's numbers, None is llama.cpp's own choice."""

    source: str
    target: str
    format: int
    pure: bool
    tensors: dict[str, int]  # by name
    output_type: int | None
    token_embedding_type: int | None
    imatrix: str | None  # a file
    threads: int | None


class Outcome(TypedDict):
    """What came of it."""

    failure: str  # what llama.cpp says; "" without one
    denied: dict[str, str]  # tensor -> the type that its rows are too short or too odd for


def obey(order: Order) -> Outcome:
    """Write the target."""
    params = llama.llama_model_quantize_default_params()
    params.nthread = order["threads"] or physical_cores()
    params.ftype = order["format"]
    params.pure = order["pure"]
    params.allow_requantize = True  # the caller has told the user
    if order["output_type"] is not None:
        params.output_tensor_type = order["output_type"]
    if order["token_embedding_type"] is not None:
        params.token_embedding_type = order["token_embedding_type"]
    kept: list[Any] = [_set_tensors(params, order["tensors"])]
    if order["imatrix"]:
        kept.append(_set_importance(params, read_imatrix(Path(order["imatrix"]))))
    source, target = os.fsencode(order["source"]), os.fsencode(order["target"])
    code = llama.llama_model_quantize(source, target, ctypes.byref(params))
    del kept  # what the parameters point to
    return {"failure": (" ".join(_errors) or f"code {code}") if code else "", "denied": _denied}


def _set_tensors(params: Any, tensors: dict[str, int]) -> Any:
    """Patterns that match one name each; the list ends with one that is null."""
    override = llama.llama_model_tensor_override
    entries = [override(f"^{name.replace('.', '[.]')}$".encode(), kind) for name, kind in tensors.items()]
    array = (override * (len(entries) + 1))(*entries)
    if entries:
        params.tt_overrides = array
    return array


def _set_importance(params: Any, matrix: ImportanceMatrix) -> Any:
    """The list ends with an entry without a name."""
    values = [np.ascontiguousarray(means, np.float32) for means in matrix.means.values()]
    pointers = [array.ctypes.data_as(ctypes.POINTER(ctypes.c_float)) for array in values]
    entry = llama.llama_model_imatrix_data
    entries = [
        entry(name.encode(), pointer, array.size)
        for name, pointer, array in zip(matrix.means, pointers, values, strict=True)
    ]
    params.imatrix = array = (entry * (len(entries) + 1))(*entries)
    return array, values


@llama.llama_log_callback  # type: ignore[untyped-decorator]  # the binding has no types
def _on_log(level: int, text: bytes, _: object) -> None:
    line = text.decode("utf-8", "replace").strip(" \n=")
    if level == _ERROR and line:
        _errors.append(line)
    if found := _DENIED.match(line):
        _denied[found[1]] = found[2].upper()


def _main() -> None:
    order: Order = json.load(sys.stdin)
    llama.llama_log_set(_on_log, None)
    llama.llama_backend_init()
    print(json.dumps(obey(order)))


if __name__ == "__main__":
    _main()

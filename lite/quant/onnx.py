"""ONNX graphs of GGUF files, kept in the cache. Nothing here imports `onnx` unless a graph must be written."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from lite.quant.gguf import GGUFFile
from lite.quant.graph_cache import open_entry

__all__ = ["FORMATS", "VERSION", "Format", "open_graph"]

Format: TypeAlias = Literal["f32", "int8-row", "q8", "q4"]
"""Of the weights as computed with: as they are; eight bits and one scale a row; eight or four bits in blocks of 32.

All but f32 round the activations to eight bits, each row by itself (int8-row) or each 32 of a row (q8, q4), and keep
embedding and head at eight bits. In each of them a row's logits have the same bits alone and among others.
"""
FORMATS: tuple[Format, ...] = get_args(Format)

VERSION = 1  # of the graphs; raise it when the builder writes different ones
_MODEL, _WEIGHTS = "model.onnx", "weights.bin"


@contextmanager
def open_graph(file: GGUFFile, weight_format: Format, folder: Path | None = None) -> Iterator[Path]:
    """The path of a model's graph, to be loaded inside the `with`; `folder` and errors as `open_entry` has them."""
    name = f"{file.content_hash()}-{weight_format}-{VERSION}"
    with open_entry(name, partial(_build, file, weight_format), folder) as entry:
        yield entry / _MODEL


def _build(file: GGUFFile, weight_format: Format, folder: Path) -> None:
    from lite.quant.onnx_graph import write_graph

    with open(folder / _WEIGHTS, "wb") as weights:
        model = write_graph(file, weight_format, weights, _WEIGHTS)
    (folder / _MODEL).write_bytes(model)

"""A GGUF file's weights as the OpenVINO engine wants them, packed once and kept in the cache.

They are named as in the file, but for the three projections of the attention, which are one: `blk.i.attn_qkv.weight`.
A matrix (out, in) is float32, or int8 by row with `NAME.scales` (out, 1), or uint8 in blocks of 32, (out, blocks,
32 bytes) of eight bits or (out, blocks, 16 bytes) of four, with `NAME.scales` (out, blocks, 1).
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from lite.quant.gguf import GGUFFile
from lite.quant.graph_cache import open_entry
from lite.quant.packing import BLOCK_SIZE, HeadLayout, pack_blocks, pack_rows

__all__ = ["FORMATS", "VERSION", "Format", "open_weights"]

Format: TypeAlias = Literal["int8-row", "f32", "q8", "q4"]
"""Of the weights as computed with: eight bits and one scale a row; as they are; eight or four bits in blocks of 32.

All but f32 round the activations to eight bits in groups, and keep embedding and head at eight bits; a matrix whose
rows are no whole blocks is kept by row.
"""
FORMATS: tuple[Format, ...] = get_args(Format)

VERSION = 1  # of the packing; raise it when it changes
_WEIGHTS, _INDEX = "weights.bin", "index.json"
_ALIGNMENT = 4096  # bytes; a page
_HEADS = ("token_embd.weight", "output.weight")
_Array: TypeAlias = NDArray[Any]


@contextmanager
def open_weights(file: GGUFFile, weight_format: Format, folder: Path | None = None) -> Iterator[Mapping[str, _Array]]:
    """All arrays by name, mapped from the disk; `folder` and errors as `open_entry` has them."""
    name = f"{file.content_hash()}-packed-{weight_format}-{VERSION}"
    with open_entry(name, partial(_build, file, weight_format), folder) as entry:
        yield _mapped(entry)


def _mapped(entry: Path) -> dict[str, _Array]:
    weights = np.memmap(entry / _WEIGHTS, np.uint8, mode="c")
    index = json.loads((entry / _INDEX).read_bytes())
    return {
        name: weights[start : start + size].view(kind).reshape(shape)
        for name, (kind, shape, start, size) in index.items()
    }


def _build(file: GGUFFile, weight_format: Format, folder: Path) -> None:
    index: dict[str, tuple[str, tuple[int, ...], int, int]] = {}
    with open(folder / _WEIGHTS, "wb") as weights:
        for name, values in _arrays(file):
            for part, array in _packed(name, values, weight_format):
                weights.seek(-(-weights.tell() // _ALIGNMENT) * _ALIGNMENT)
                index[part] = array.dtype.str, array.shape, weights.tell(), array.nbytes
                weights.write(np.ascontiguousarray(array).data)
    (folder / _INDEX).write_text(json.dumps(index))


def _arrays(file: GGUFFile) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Of the whole model, float32; heads as `HeadLayout` has them."""
    heads = HeadLayout(file.config.head_dim, file.config.rope_interleaved)
    for name in file.tensors:
        layer, _, part = name.rpartition(".attn_")
        if part.startswith(("q.", "k.", "v.")):
            if part.startswith("q."):
                yield f"{layer}.attn_qkv.{part[2:]}", _joint(file, heads, layer, part[2:])
        elif part == "output.weight" and layer:
            yield name, heads.plain(file.tensor(name).T).T
        elif part in ("q_norm.weight", "k_norm.weight"):
            yield name, heads.rotary(file.tensor(name))
        elif not name.startswith("rope_"):
            yield name, file.tensor(name)


def _joint(file: GGUFFile, heads: HeadLayout, layer: str, kind: str) -> NDArray[np.float32]:
    """The three projections' rows, or biases, in one array."""
    query, key, value = (file.tensor(f"{layer}.attn_{part}.{kind}") for part in "qkv")
    return np.concatenate([heads.rotary(query), heads.rotary(key), heads.plain(value)])


def _packed(name: str, values: NDArray[np.float32], weight_format: Format) -> Iterator[tuple[str, _Array]]:
    if values.ndim < 2 or weight_format == "f32":
        yield name, values
        return
    if weight_format == "int8-row" or values.shape[1] % BLOCK_SIZE:
        codes, scales = pack_rows(values)
        yield name, codes.T
    else:
        packed, scales = pack_blocks(values, 8 if weight_format == "q8" or name in _HEADS else 4)
        yield name, packed
    yield f"{name}.scales", scales[..., None]

"""The weights of a Hugging Face folder: safetensors files, mapped and checked from end to end.

Layout: https://github.com/huggingface/safetensors#format, a length of 8 bytes, that much JSON, the arrays.
"""

import json
import mmap
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lite.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["StoredTensor", "Weights", "open_weights", "weight_files"]

_MAX_HEADER = 100 << 20  # bytes; the reference implementation's limit
_MAX_TENSORS = 1 << 16
_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where an array lies and what it is."""

    name: str
    shape: tuple[int, ...]
    type: str  # "F32", "F16", "BF16", "F64"
    data: mmap.mmap
    start: int  # bytes from the start of the file
    num_bytes: int


class Weights:
    """The arrays of a folder by name."""

    def __init__(self, tensors: Mapping[str, StoredTensor]) -> None:
        self.tensors = tensors

    def stored(self, name: str) -> "NDArray[Any]":
        """As it lies there; bfloat16 as uint16. KeyError for a name that is not there."""
        import numpy as np

        tensor = self.tensors[name]
        raw = tensor.data[tensor.start : tensor.start + tensor.num_bytes]
        return np.frombuffer(raw, _NUMPY[tensor.type]).reshape(tensor.shape)

    def view(self, name: str) -> "NDArray[Any]":
        """The file's own bytes, no copy: it cannot be used longer than the files are open."""
        import ml_dtypes
        import numpy as np

        tensor = self.tensors[name]
        kind = ml_dtypes.bfloat16 if tensor.type == "BF16" else _NUMPY[tensor.type]
        return np.frombuffer(tensor.data, kind, prod(tensor.shape), tensor.start).reshape(tensor.shape)

    def array(self, name: str) -> "NDArray[np.float32]":
        """As float32, in which all but F64 is exact."""
        import numpy as np

        values = self.stored(name)
        if self.tensors[name].type == "BF16":  # the upper half of a float32
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(np.float32)


@contextmanager
def open_weights(folder: Path) -> Iterator[Weights]:
    """Map a folder's files. Raises ModelError for those that are missing, damaged or of a kind that is not read."""
    tensors: dict[str, StoredTensor] = {}
    with ExitStack() as stack:
        for path in weight_files(folder):
            try:
                file = stack.enter_context(open(path, "rb"))
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                stack.callback(_close, mapped)
            except (OSError, ValueError) as error:
                raise ModelError(f"cannot read {path}: {error}") from None
            for stored in _tensors(path, mapped):
                if stored.name in tensors:
                    raise ModelError(f"{path}: the tensor {stored.name!r} is in another file too")
                tensors[stored.name] = stored
        yield Weights(tensors)


def _close(mapped: mmap.mmap) -> None:
    """What an error on its way out still looks at is unmapped when that is gone."""
    with suppress(BufferError):
        mapped.close()


def weight_files(folder: Path) -> list[Path]:
    """Those that the index lists, or the single one. Raises ModelError."""
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        single = folder / "model.safetensors"
        if not single.exists():
            raise ModelError(f"{folder} holds no model.safetensors and no index of several: only that kind is read")
        return [single]
    try:
        names = {str(name) for name in json.loads(index.read_bytes())["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{index} is damaged ({error}): download it again") from None
    paths = [folder / name for name in sorted(names)]
    for path in paths:
        if path.parent != folder:
            raise ModelError(f"{index} names {path.name!r} outside its folder")
        if not path.exists():
            raise ModelError(f"{path} is missing, though the index lists it: download the model again")
    return paths


def _tensors(path: Path, mapped: mmap.mmap) -> Iterator[StoredTensor]:
    """Raises ModelError, whose message names the file."""
    try:
        header, start = _header(mapped)
        for name, entry in header.items():
            if name != "__metadata__":
                yield _tensor(name, entry, mapped, start)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def _header(mapped: mmap.mmap) -> tuple[dict[str, Any], int]:
    """The JSON, and where the arrays begin."""
    if len(mapped) < 8:
        raise ModelError(f"the file has {len(mapped)} bytes, a safetensors file has at least 8")
    (length,) = struct.unpack_from("<Q", mapped)
    if length > min(_MAX_HEADER, len(mapped) - 8):
        raise ModelError(
            f"its header should have {length} bytes, but the file ends at {len(mapped)}: download it again"
        )
    try:
        header = json.loads(mapped[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise ModelError(f"its header is no JSON ({error}): download it again") from None
    if not isinstance(header, dict) or len(header) > _MAX_TENSORS:
        raise ModelError("its header is no list of tensors: download it again")
    return header, 8 + length


def _tensor(name: str, entry: Any, mapped: mmap.mmap, start: int) -> StoredTensor:
    try:
        kind, shape, (first, last) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        if not all(type(number) is int and number >= 0 for number in (*shape, first, last)):
            raise ValueError("its numbers are no whole ones")
        if not isinstance(kind, str):
            raise TypeError("its type is no text")
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"the entry of tensor {name!r} is damaged ({error}): download it again") from None
    if kind not in _ITEM_BYTES:
        known = ", ".join(_ITEM_BYTES)
        raise ModelError(f"tensor {name!r} is {kind}, read are {known}: take the checkpoint that is not quantized")
    if last - first != prod(shape) * _ITEM_BYTES[kind] or start + last > len(mapped):
        raise ModelError(f"tensor {name!r} of shape {shape} does not fit its {last - first} bytes: download it again")
    return StoredTensor(name, shape, kind, mapped, start + first, last - first)

"""The header of a GGUF file, checked before anything is believed: counts, lengths, offsets and extents.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian. Time and memory
are linear in the header's bytes that are really there; a number in the file is never allocated from unchecked.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from lite.errors import ModelError
from lite.models import TensorInfo

__all__ = ["TENSOR_TYPES", "Header", "Value", "parse_header", "peek_architecture"]

if TYPE_CHECKING:
    import mmap

Item = TypeVar("Item")
Value: TypeAlias = int | float | bool | str | tuple[int | float | bool | str, ...]
Buffer: TypeAlias = "bytes | mmap.mmap"

TENSOR_TYPES: Mapping[int, tuple[str, int, int]] = MappingProxyType(
    {  # ggml's number: (name, values per block, bytes per block)
        0: ("F32", 1, 4),
        1: ("F16", 1, 2),
        2: ("Q4_0", 32, 18),
        3: ("Q4_1", 32, 20),
        6: ("Q5_0", 32, 22),
        7: ("Q5_1", 32, 24),
        8: ("Q8_0", 32, 34),
        10: ("Q2_K", 256, 84),
        11: ("Q3_K", 256, 110),
        12: ("Q4_K", 256, 144),
        13: ("Q5_K", 256, 176),
        14: ("Q6_K", 256, 210),
        16: ("IQ2_XXS", 256, 66),
        17: ("IQ2_XS", 256, 74),
        18: ("IQ3_XXS", 256, 98),
        19: ("IQ1_S", 256, 50),
        20: ("IQ4_NL", 32, 18),
        21: ("IQ3_S", 256, 110),
        22: ("IQ2_S", 256, 82),
        23: ("IQ4_XS", 256, 136),
        29: ("IQ1_M", 256, 56),
        30: ("BF16", 1, 2),
        34: ("TQ1_0", 256, 54),
        35: ("TQ2_0", 256, 66),
        39: ("MXFP4", 32, 17),
        40: ("NVFP4", 64, 36),
    }
)
"""The tensor types that can be dequantised."""

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9

_MAX_KEYS = 1 << 14
_MAX_TENSORS = 1 << 16
_MAX_NAME_BYTES = 1 << 8
_MAX_STRING_BYTES = 1 << 24  # a chat template or a licence text; the longest seen are some 100 kB
_MAX_ARRAY = 1 << 22  # tokens or merges; the largest vocabularies have 262,144 tokens and 514,906 merges
_MAX_DIMENSION = 1 << 32
_MAX_ALIGNMENT = 1 << 16


@dataclass(frozen=True, slots=True)
class Header:
    """Everything in front of the weights."""

    version: int
    metadata: Mapping[str, Value]
    tensors: Mapping[str, TensorInfo]
    data_start: int  # bytes; the weights begin here


def parse_header(data: Buffer) -> Header:
    """Read and check the header of a whole file. Raises ModelError, whose message does not name the file."""
    cursor = _Cursor(data)
    version, num_tensors, num_keys = _preamble(cursor)
    metadata = dict(_unique((_pair(cursor) for _ in range(num_keys)), "metadata key"))
    raw = dict(_unique((_raw_tensor(cursor) for _ in range(num_tensors)), "tensor"))
    alignment = _alignment(metadata)
    data_start = -(-cursor.position // alignment) * alignment
    tensors = {name: _placed(name, *entry, data_start, alignment, len(data)) for name, entry in raw.items()}
    _refuse_overlap(tensors)
    return Header(version, MappingProxyType(metadata), MappingProxyType(tensors), data_start)


def peek_architecture(start: bytes) -> str:
    """What the first bytes of a file call its architecture; "" where they do not tell. Raises ModelError if no GGUF."""
    cursor = _Cursor(start)
    _, _, num_keys = _preamble(cursor)
    try:
        pairs = (_pair(cursor) for _ in range(num_keys))
        return next((str(value) for key, value in pairs if key == "general.architecture"), "")
    except ModelError:
        return ""


class _Cursor:
    """Reads forward through `data` and refuses to pass its end."""

    def __init__(self, data: Buffer) -> None:
        self.data = data
        self.size = len(data)
        self.position = 0

    def _advance(self, num_bytes: int, what: str) -> int:
        start = self.position
        if num_bytes > self.size - start:
            raise ModelError(f"{what} needs {num_bytes} bytes at byte {start}, but the file ends at {self.size}")
        self.position = start + num_bytes
        return start

    def numbers(self, code: str, count: int, what: str) -> tuple[int | float | bool, ...]:
        start = self._advance(count * struct.calcsize("<" + code), what)
        return struct.unpack_from(f"<{count}{code}", self.data, start)

    def integer(self, code: str, what: str, limit: int) -> int:
        (value,) = self.numbers(code, 1, what)
        if value > limit:
            raise ModelError(f"{what} is {value}, more than the limit of {limit}")
        return int(value)

    def string(self, what: str, limit: int = _MAX_STRING_BYTES) -> str:
        length = self.integer("Q", f"the length of {what}", limit)
        start = self._advance(length, what)
        return _decoded(self.data[start : start + length], what)

    def strings(self, count: int, what: str) -> tuple[str, ...]:
        """Like `string`, many times over: vocabularies have hundreds of thousands, so the loop is flat."""
        data, size, position, found = self.data, self.size, self.position, []
        length_at = struct.Struct("<Q").unpack_from
        for index in range(count):
            start = position + 8
            length = length_at(data, position)[0] if start <= size else size
            position = start + length
            if position > size or length > _MAX_STRING_BYTES:
                raise ModelError(f"item {index} of {what} does not fit: the file ends at byte {size}")
            found.append(_decoded(data[start:position], what))
        self.position = position
        return tuple(found)


def _preamble(cursor: _Cursor) -> tuple[int, int, int]:
    """Check magic and version; returns (version, tensors, metadata keys)."""
    if cursor.size < 24:
        raise ModelError(f"the file has {cursor.size} bytes, a GGUF file has at least 24")
    magic = bytes(cursor.data[:4])
    if magic != b"GGUF":
        raise ModelError(f"not a GGUF file: it begins with {magic!r} instead of b'GGUF'")
    cursor.position = 4
    version = cursor.integer("I", "the GGUF version", 1 << 32)
    if version in (2 << 24, 3 << 24):
        raise ModelError("the file is big-endian, only little-endian GGUF is read")
    if version not in (2, 3):
        raise ModelError(f"GGUF version {version} is not read, only versions 2 and 3 are")
    num_tensors = cursor.integer("Q", "the number of tensors", _MAX_TENSORS)
    return version, num_tensors, cursor.integer("Q", "the number of metadata keys", _MAX_KEYS)


def _unique(items: Iterator[tuple[str, Item]], what: str) -> Iterator[tuple[str, Item]]:
    seen: set[str] = set()
    for name, item in items:
        if name in seen:
            raise ModelError(f"the {what} {name!r} occurs twice")
        seen.add(name)
        yield name, item


def _pair(cursor: _Cursor) -> tuple[str, Value]:
    key = cursor.string("a metadata key", _MAX_NAME_BYTES)
    kind = cursor.integer("I", f"the type of {key!r}", 1 << 32)
    return key, _array(cursor, key) if kind == _ARRAY else _scalar(cursor, key, kind)


def _scalar(cursor: _Cursor, key: str, kind: int) -> Value:
    if kind == _STRING:
        return cursor.string(f"{key!r}")
    if kind not in _SCALARS:
        raise ModelError(f"{key!r} has the unknown value type {kind}, the last known is 12")
    return cursor.numbers(_SCALARS[kind], 1, f"{key!r}")[0]


def _array(cursor: _Cursor, key: str) -> Value:
    kind = cursor.integer("I", f"the item type of {key!r}", 1 << 32)
    count = cursor.integer("Q", f"the length of the array {key!r}", _MAX_ARRAY)
    if kind == _STRING:
        return cursor.strings(count, f"{key!r}")
    if kind not in _SCALARS:
        raise ModelError(f"the array {key!r} has items of type {kind}, only numbers and strings are read")
    return cursor.numbers(_SCALARS[kind], count, f"{key!r}")


def _raw_tensor(cursor: _Cursor) -> tuple[str, tuple[tuple[int, ...], int, int]]:
    """The next tensor's entry: (name, (shape, type number, offset from the start of the weights))."""
    name = cursor.string("a tensor's name", _MAX_NAME_BYTES)
    num_dimensions = cursor.integer("I", f"the number of dimensions of {name!r}", 4)
    shape = [cursor.integer("Q", f"a dimension of {name!r}", _MAX_DIMENSION) for _ in range(num_dimensions)]
    if not shape or min(shape) < 1:
        raise ModelError(f"tensor {name!r} has the dimensions {shape}, each must be at least 1")
    kind = cursor.integer("I", f"the type of {name!r}", 1 << 32)
    return name, (tuple(reversed(shape)), kind, cursor.integer("Q", f"the offset of {name!r}", 1 << 63))


def _alignment(metadata: Mapping[str, Value]) -> int:
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or not 1 <= alignment <= _MAX_ALIGNMENT or alignment & (alignment - 1):
        raise ModelError(f"general.alignment is {alignment!r}, it must be a power of two up to {_MAX_ALIGNMENT}")
    return alignment


def _placed(
    name: str, shape: tuple[int, ...], kind: int, offset: int, data_start: int, alignment: int, size: int
) -> TensorInfo:
    """The tensor with its extent, which must lie within the file's `size` bytes."""
    if kind not in TENSOR_TYPES:
        known = ", ".join(label for label, _, _ in TENSOR_TYPES.values())
        raise ModelError(f"tensor {name!r} has type number {kind}, which is not read; read are {known}")
    label, block, block_bytes = TENSOR_TYPES[kind]
    if shape[-1] % block:
        raise ModelError(f"tensor {name!r} is {label} but its rows of {shape[-1]} are no multiple of {block}")
    num_bytes = prod(shape) // block * block_bytes
    if offset % alignment:
        raise ModelError(f"tensor {name!r} begins at offset {offset}, which is no multiple of {alignment}")
    if data_start + offset + num_bytes > size:
        end = data_start + offset + num_bytes
        raise ModelError(f"tensor {name!r} ends at byte {end}, but the file ends at {size}: it is incomplete")
    return TensorInfo(name, shape, label, data_start + offset, num_bytes)


def _refuse_overlap(tensors: Mapping[str, TensorInfo]) -> None:
    for before, after in pairwise(sorted(tensors.values(), key=lambda info: info.offset)):
        if before.offset + before.num_bytes > after.offset:
            raise ModelError(f"the tensors {before.name!r} and {after.name!r} overlap")


def _decoded(raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ModelError(f"{what} is not UTF-8 text (byte {error.start} of it)") from None

"""Importance matrices: how strongly each column of a matrix is driven, in llama.cpp's files.

One holds, for each matrix, the mean of the squares of every column of its inputs over the tokens of a calibration text.
Two kinds of file are read, the GGUF that `llama-imatrix` writes today and the binary one that it wrote until 2025; the
first is written.
"""

import mmap
import struct
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lite.errors import ModelError
from lite.quant.gguf_header import parse_header

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ImportanceMatrix", "is_imatrix", "read_imatrix", "write_imatrix"]

_SUMS, _COUNTS = ".in_sum2", ".counts"
_MAX_ENTRIES = 1 << 16
_MAX_VALUES = 1 << 24  # of one entry


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ImportanceMatrix:
    """Mean squares by the names of tensors."""

    means: "Mapping[str, NDArray[np.float32]]"  # (columns,), for a mixture (experts * columns,)
    num_tokens: int  # measured on; 0 where the file does not tell
    chunk_tokens: int  # tokens that were read as one text; 0 where the file does not tell
    dataset: str  # what the calibration text was called


def is_imatrix(path: Path) -> bool:
    """Whether a file holds measurements rather than a text: by its beginning, which in a text has no NUL."""
    with open(path, "rb") as file:
        return b"\0" in file.read(4096)


def read_imatrix(path: Path) -> ImportanceMatrix:
    """Of either kind of file. Raises ModelError for a damaged one, OSError for one that cannot be read."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            found = _read_gguf(mapped) if mapped[:4] == b"GGUF" else _read_binary(bytes(mapped))
    except (ModelError, ValueError, struct.error, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is no importance matrix that can be read: {error}") from None
    import numpy as np

    for name, values in found.means.items():
        if not np.isfinite(values).all() or (values < 0).any():
            raise ModelError(f"{path}: the squares of {name!r} are not all finite and positive")
    return found


def write_imatrix(path: Path, matrix: ImportanceMatrix) -> None:
    """As GGUF, entries in the order of their names. `path` is replaced where it exists."""
    import numpy as np
    from gguf import GGUFValueType, GGUFWriter

    count = max(1, matrix.num_tokens)
    with closing(GGUFWriter(path, "imatrix")) as writer:
        del writer.kv_data[0]["general.architecture"]  # it is no model
        writer.add_string("general.type", "imatrix")
        writer.add_key_value("imatrix.datasets", [matrix.dataset], GGUFValueType.ARRAY, GGUFValueType.STRING)
        writer.add_uint32("imatrix.chunk_count", -(-matrix.num_tokens // max(1, matrix.chunk_tokens)))
        writer.add_uint32("imatrix.chunk_size", matrix.chunk_tokens)
        for name, means in sorted(matrix.means.items()):
            writer.add_tensor(name + _SUMS, (means * np.float32(count)).astype(np.float32)[None])
            writer.add_tensor(name + _COUNTS, np.full((1, 1), count, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()


def _read_gguf(mapped: mmap.mmap) -> ImportanceMatrix:
    import numpy as np

    header = parse_header(mapped)
    means = {}
    most = 0.0
    for tensor, info in header.tensors.items():
        name = tensor.removesuffix(_SUMS)
        counted = header.tensors.get(name + _COUNTS)
        if name == tensor:
            continue
        if counted is None or {info.type, counted.type} != {"F32"}:
            raise ModelError(f"the sums of {name!r} have no counts, or are not float32")
        sums = np.frombuffer(mapped[info.offset : info.offset + info.num_bytes], "<f4").reshape(info.shape)
        counts = np.frombuffer(mapped[counted.offset : counted.offset + counted.num_bytes], "<f4")
        if sums.ndim == 1:
            sums = sums[None]
        if sums.size // sums.shape[-1] != counts.size:
            raise ModelError(f"{name!r} has {counts.size} counts for sums of shape {info.shape}")
        shares = sums.reshape(counts.size, -1) / np.maximum(counts, 1)[:, None]
        means[name] = np.where(counts[:, None] > 0, shares, np.float32(1)).astype(np.float32).ravel()
        most = max(most, float(counts.max()))
    if not means:
        raise ModelError(f"it has no tensor whose name ends with {_SUMS}: is it a model?")
    datasets = header.metadata.get("imatrix.datasets")
    size = header.metadata.get("imatrix.chunk_size", 0)
    return ImportanceMatrix(
        means=means,
        num_tokens=int(most),
        chunk_tokens=size if isinstance(size, int) else 0,
        dataset=str(datasets[0]) if isinstance(datasets, tuple) and datasets else "",
    )


def _read_binary(data: bytes) -> ImportanceMatrix:
    """The number of entries; of each the length of its name, the name, calls, number of values, values times calls."""
    import numpy as np

    means = {}
    (num_entries,), position = struct.unpack_from("<i", data), 4
    if not 1 <= num_entries <= _MAX_ENTRIES:
        raise ModelError(f"it begins with {num_entries}, which is no number of entries")
    for _ in range(num_entries):
        (length,) = struct.unpack_from("<i", data, position)
        position += 4
        name = struct.unpack_from(f"{max(0, length)}s", data, position)[0].decode()
        calls, count = struct.unpack_from("<ii", data, position + length)
        position += length + 8
        if not 1 <= count <= _MAX_VALUES or position + 4 * count > len(data):
            raise ModelError(f"the entry {name!r} asks for {count} values, but the file ends at byte {len(data)}")
        sums = np.frombuffer(data, "<f4", count, position)
        means[name] = (sums / max(1, calls)).astype(np.float32)
        position += 4 * count
    return ImportanceMatrix(means=means, num_tokens=0, chunk_tokens=0, dataset=_trailing_name(data, position))


def _trailing_name(data: bytes, position: int) -> str:
    """The calibration text's, after the number of chunks; older files end without."""
    if position + 8 > len(data):
        return ""
    _, length = struct.unpack_from("<ii", data, position)
    return data[position + 8 : position + 8 + max(0, length)].decode("utf-8", "replace")

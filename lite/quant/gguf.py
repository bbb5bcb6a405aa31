"""GGUF files: opened, checked from end to end, and read tensor by tensor."""

import hashlib
import mmap
import os
import stat
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from lite.errors import ModelError
from lite.models import ModelConfig, TensorInfo
from lite.quant.converted import gguf_of_folder, is_hf_folder
from lite.quant.gguf_config import check_tensors, read_config, rope_divisors
from lite.quant.gguf_header import Header, Value, parse_header

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["GGUFFile", "open_gguf"]

_HASHED_WHOLE = 64 << 20  # bytes; a larger file's weights are sampled
_SAMPLES, _SAMPLE_BYTES = 16, 4096  # per tensor


def open_gguf(path: str | os.PathLike[str]) -> "GGUFFile":
    """Open and check a model file. Raises ModelError, one line, whatever the bytes are; nothing else.

    A Hugging Face folder is converted first, into the cache, and may raise what `gguf_of_folder` does.
    """
    if is_hf_folder(path):
        path = gguf_of_folder(Path(path))
    shown = os.fspath(path) if os.fspath(path).isprintable() else ascii(os.fspath(path))
    try:
        mapped, changed = _mapped(path)
    except (OSError, ValueError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ModelError(f"cannot read the model {shown}: {reason}; `lite ls` lists the models at hand") from None
    try:
        return GGUFFile(Path(path), mapped, changed)
    except ModelError as error:
        mapped.close()
        raise ModelError(f"{shown}: {error}; download or convert the model again, or choose another") from None


class GGUFFile:
    """A checked model file, mapped into memory. Reading is thread-safe; close it when done (or use `with`)."""

    def __init__(self, path: Path, mapped: mmap.mmap, changed: int) -> None:
        """Takes the map over when the content is sound; raises ModelError and leaves it open when not.

        `changed` is the time of the file's last change, in nanoseconds.
        """
        header = parse_header(mapped)
        config = read_config(header.metadata, header.tensors)
        check_tensors(config, header.tensors)
        self._path = path
        self._mapped = mapped
        self._changed = changed
        self._header = header
        divisors = rope_divisors(config, header.metadata, _rope_factors(config, header, mapped))
        self._config = replace(config, rope_factors=divisors)

    @property
    def path(self) -> Path:
        return self._path

    @property
    def metadata(self) -> Mapping[str, Value]:
        """Every key of the file; arrays are tuples."""
        return self._header.metadata

    @property
    def config(self) -> ModelConfig:
        return self._config

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """By GGUF's names, such as blk.0.attn_q.weight; output.weight is absent when the embeddings are tied."""
        return self._header.tensors

    def tensor(self, name: str) -> "NDArray[np.float32]":
        """Dequantise a tensor into a fresh array, (out, in) for a matrix. KeyError for a name that is not there."""
        import gguf
        import numpy as np

        info = self.tensors[name]
        rows = self._mapped[info.offset : info.offset + info.num_bytes]
        raw = np.frombuffer(rows, np.uint8).reshape(*info.shape[:-1], -1)
        with np.errstate(all="ignore"):
            values = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[info.type]).reshape(info.shape)
            finite = bool(np.isfinite(values.sum(dtype=np.float64)))
        if not finite:
            raise ModelError(f"{self._path}: tensor {name!r} holds NaN or infinite numbers; download the model again")
        return np.require(values, np.float32, ["C", "O", "W"])

    def content_hash(self) -> str:
        """32 hexadecimal digits that name the content, for caches.

        Files up to 64 MiB are hashed whole. Of larger ones: the header, the size, the time of the last change and
        16 pages spread over each tensor, so that a model of gigabytes is named in milliseconds; the time stands in
        for the bytes that were not looked at.
        """
        digest = hashlib.blake2b(digest_size=16)
        if len(self._mapped) <= _HASHED_WHOLE:
            digest.update(self._mapped)
            return digest.hexdigest()
        digest.update(self._mapped[: self._header.data_start])
        digest.update(struct.pack("<Qq", len(self._mapped), self._changed))
        for info in self.tensors.values():
            stride = max(1, info.num_bytes // _SAMPLES)
            for start in range(info.offset, info.offset + info.num_bytes, stride):
                digest.update(self._mapped[start : start + min(stride, _SAMPLE_BYTES)])
        return digest.hexdigest()

    def close(self) -> None:
        """Unmap the file; idempotent. Metadata and configuration stay readable."""
        self._mapped.close()

    def __enter__(self) -> "GGUFFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _mapped(path: str | os.PathLike[str]) -> tuple[mmap.mmap, int]:
    """Map a regular file; returns it and the time of its last change. Raises OSError or ValueError.

    A pipe is refused before it is opened, as opening would wait for its other end.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise ValueError("it is a folder" if stat.S_ISDIR(mode) else "it is not a regular file")
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_size == 0:
            raise ValueError("the file is empty")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), status.st_mtime_ns


def _rope_factors(config: ModelConfig, header: Header, mapped: mmap.mmap) -> tuple[float, ...]:
    """Llama 3's, which are a tensor; () where there is none."""
    info = header.tensors.get("rope_freqs.weight")
    return struct.unpack_from(f"<{config.head_dim // 2}f", mapped, info.offset) if info else ()

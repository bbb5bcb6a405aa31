"""ONNX graphs of GGUF files, built once and kept in the cache.

An entry is a folder named by the model's content, the format and the version of the builder. It is written under
another name and renamed when it is whole, so that two processes never see each other's halves; a manifest of sizes
and checksums tells a damaged one, which is built again. Nothing here imports `onnx` unless a graph must be written.
"""

import json
import logging
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias, get_args

from lite.config import graph_folder
from lite.errors import BackendError
from lite.quant.gguf import GGUFFile

__all__ = ["FORMATS", "VERSION", "Format", "open_graph"]

Format: TypeAlias = Literal["f32", "int8-row", "q8", "q4"]
"""Of the weights as computed with: as they are; eight bits and one scale a row; eight or four bits in blocks of 32.

All but f32 round the activations to eight bits, each row by itself (int8-row) or each 32 of a row (q8, q4), and keep
embedding and head at eight bits. In each of them a row's logits have the same bits alone and among others.
"""
FORMATS: tuple[Format, ...] = get_args(Format)

VERSION = 1  # of the graphs; raise it when the builder writes different ones
_CACHE_LIMIT = 16 << 30  # bytes of all entries; the least recently used go first
_STALE_SECONDS = 24 * 3600  # after which an unfinished entry is a dead process's
_CHECKED_WHOLE = 256 << 20  # bytes; of larger files only the size is compared, reading them would cost seconds
_MODEL, _WEIGHTS, _MANIFEST = "model.onnx", "weights.bin", "manifest.json"

_log = logging.getLogger(__name__)


@contextmanager
def open_graph(file: GGUFFile, weight_format: Format, folder: Path | None = None) -> Iterator[Path]:
    """The path of a model's graph, to be loaded inside the `with`: from the cache, or built into it.

    `folder` is the cache's (default: `lite.config.graph_folder()`). Where it cannot be written the graph lives in a
    temporary folder for as long as the `with` lasts. Raises BackendError when there is no room anywhere.
    """
    folder = folder or graph_folder()
    try:
        entry = _cached(file, weight_format, folder)
    except OSError as error:
        _log.warning("cannot keep the graph in %s (%s): it is built anew in each process", folder, error.strerror)
        with _temporary(file, weight_format) as entry:
            yield entry / _MODEL
    else:
        yield entry / _MODEL


def _cached(file: GGUFFile, weight_format: Format, folder: Path) -> Path:
    entry = folder / f"{file.content_hash()}-{weight_format}-{VERSION}"
    if _is_whole(entry):
        with suppress(OSError):  # a read-only cache still serves
            os.utime(entry)
        return entry
    folder.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".", dir=folder))
    try:
        _build(file, weight_format, draft)
        _publish(draft, entry)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    with suppress(OSError):  # another process may be tidying up too
        _prune(folder, keep=entry)
    return entry


def _build(file: GGUFFile, weight_format: Format, folder: Path) -> None:
    """Write model, weights and manifest; all are on the disk when this returns."""
    from lite.quant.onnx_graph import write_graph

    with open(folder / _WEIGHTS, "wb") as weights:
        model = write_graph(file, weight_format, weights, _WEIGHTS)
        _flush(weights)
    _write(folder / _MODEL, model)
    sizes = {name: _fingerprint(folder / name) for name in (_MODEL, _WEIGHTS)}
    _write(folder / _MANIFEST, json.dumps(sizes).encode())


def _publish(draft: Path, entry: Path) -> None:
    """Give the draft its name. What another process put there in the meantime stays, if it is whole."""
    try:
        draft.rename(entry)
    except OSError:
        if _is_whole(entry):
            return
        shutil.rmtree(entry)
        draft.rename(entry)


def _is_whole(entry: Path) -> bool:
    try:
        manifest = json.loads((entry / _MANIFEST).read_bytes())
        return bool(manifest == {name: _fingerprint(entry / name) for name in (_MODEL, _WEIGHTS)})
    except (OSError, ValueError):
        return False


def _fingerprint(path: Path) -> list[int]:
    """Size and checksum; the checksum of a large file is 0."""
    size = path.stat().st_size
    return [size, zlib.crc32(path.read_bytes()) if size <= _CHECKED_WHOLE else 0]


def _prune(folder: Path, keep: Path) -> None:
    """Delete the least recently used entries beyond the limit, and what dead processes left unfinished."""
    entries = [(path.stat().st_mtime, path) for path in folder.iterdir() if path.is_dir() and path != keep]
    room = _CACHE_LIMIT - _num_bytes(keep)
    for last_use, path in sorted(entries, reverse=True):
        unfinished = path.name.startswith(".")
        room -= 0 if unfinished else _num_bytes(path)
        if (unfinished and time.time() - last_use > _STALE_SECONDS) or (not unfinished and room < 0):
            shutil.rmtree(path, ignore_errors=True)


def _num_bytes(entry: Path) -> int:
    return sum(path.stat().st_size for name in (_MODEL, _WEIGHTS) if (path := entry / name).exists())


def _write(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        _flush(file)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _temporary(file: GGUFFile, weight_format: Format) -> Iterator[Path]:
    with ExitStack() as stack:
        try:
            folder = tempfile.TemporaryDirectory(prefix="lite-", ignore_cleanup_errors=True)
            entry = Path(stack.enter_context(folder))
            _build(file, weight_format, entry)
        except OSError as error:
            raise BackendError(
                f"no folder has room for the model's graph ({error.strerror}): set LITE_CACHE_DIR to one that has"
            ) from None
        yield entry

"""Graphs and weights made of model files, built once and kept in the cache.

An entry is a folder named by what it was made of. It is written under another name and renamed when it is whole, so
that two processes never see each other's halves; a manifest of sizes and checksums tells a damaged one, which is built
again.
"""

import json
import logging
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from lite.config import graph_folder
from lite.errors import BackendError

__all__ = ["open_entry"]

Build: TypeAlias = Callable[[Path], None]
"""Fills an empty folder with files."""

_CACHE_LIMIT = 16 << 30  # bytes of all entries; the least recently used go first
_STALE_SECONDS = 24 * 3600  # after which an unfinished entry is a dead process's
_CHECKED_WHOLE = 256 << 20  # bytes; of larger files only the size is compared, reading them would cost seconds
_MANIFEST = "manifest.json"

_log = logging.getLogger(__name__)


@contextmanager
def open_entry(name: str, build: Build, folder: Path | None = None) -> Iterator[Path]:
    """An entry's folder, to be read inside the `with`: from the cache, or built into it.

    `folder` is the cache's (default: `lite.config.graph_folder()`). Where it cannot be written the entry lives in a
    temporary folder for as long as the `with` lasts. Raises BackendError when there is no room anywhere.
    """
    folder = folder or graph_folder()
    try:
        entry = _cached(folder / name, build)
    except OSError as error:
        _log.warning("cannot keep the graph in %s (%s): it is built anew in each process", folder, error.strerror)
        with _temporary(build) as entry:
            yield entry
    else:
        yield entry


def _cached(entry: Path, build: Build) -> Path:
    if _is_whole(entry):
        with suppress(OSError):  # a read-only cache still serves
            os.utime(entry)
        return entry
    entry.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".", dir=entry.parent))
    try:
        _fill(draft, build)
        _publish(draft, entry)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    with suppress(OSError):  # another process may be tidying up too
        _prune(entry.parent, keep=entry)
    return entry


def _fill(folder: Path, build: Build) -> None:
    """Build, and write the manifest; all are on the disk when this returns."""
    build(folder)
    fingerprints = {path.name: _fingerprint(path) for path in folder.iterdir()}
    (folder / _MANIFEST).write_text(json.dumps(fingerprints))
    for path in folder.iterdir():
        with open(path, "r+b") as file:
            os.fsync(file.fileno())


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
        return bool(manifest) and all(_fingerprint(entry / name) == told for name, told in manifest.items())
    except (OSError, ValueError, AttributeError):
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
    return sum(path.stat().st_size for path in entry.iterdir())


@contextmanager
def _temporary(build: Build) -> Iterator[Path]:
    with ExitStack() as stack:
        try:
            folder = tempfile.TemporaryDirectory(prefix="lite-", ignore_cleanup_errors=True)
            entry = Path(stack.enter_context(folder))
            build(entry)
        except OSError as error:
            raise BackendError(
                f"no folder has room for the model's graph ({error.strerror}): set LITE_CACHE_DIR to one that has"
            ) from None
        yield entry

"""The keys and values of long prompts in files, for the next process that is asked the same.

A file holds a prompt's tokens and what the engine made of them, under a checksum that is looked at before anything
else is believed. It is written under another name and renamed when it is whole, so that two processes never see each
other's halves; what is damaged is deleted and computed again.
"""

import hashlib
import logging
import os
import struct
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lite.engine.slots import common_prefix

__all__ = ["PromptFiles", "SavedPrompt"]

_log = logging.getLogger(__name__)

_SUFFIX, _UNFINISHED = ".prompt", ".part"
_HEADER = struct.Struct("<8s32sIQ")  # magic, checksum of all that follows and of the key, tokens, bytes of the state
_MAGIC = b"lite-kv1"
_STALE_SECONDS = 3600  # after which an unfinished file is a dead process's
_TOKEN = np.dtype("<i4")


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedPrompt:
    """What a file holds of a prompt."""

    num_tokens: int  # that the state belongs to
    num_shared: int  # how many of them the prompt begins with
    state: NDArray[np.uint8]


class PromptFiles:
    """Files of one folder, of which `key` names those of one model and one way of computing; all share the limit.

    No method raises for what is wrong with a folder or a file: the cache is then done without.
    """

    def __init__(self, folder: Path, key: str, *, max_bytes: int, min_tokens: int = 256) -> None:
        """`max_bytes` is of all files in the folder; less than `min_tokens` tokens are neither kept nor looked for."""
        self._folder = folder
        self._key = key
        self._max_bytes = max_bytes
        self._min_tokens = min_tokens

    def find(self, ids: Sequence[int], known: int) -> SavedPrompt | None:
        """The file that has most of the tokens' beginning, if that is so many tokens more than are `known`."""
        for shared, path in sorted(self._candidates(list(ids)), reverse=True):
            if shared - known < self._min_tokens:
                break
            read = self._read(path)
            if read is not None:
                with suppress(OSError):
                    os.utime(path)  # used last
                return SavedPrompt(num_tokens=read[0], num_shared=shared, state=read[1])
            _drop(path)
        return None

    def wants(self, num_computed: int) -> bool:
        """Whether it is worth keeping what took so many tokens to compute."""
        return num_computed >= self._min_tokens

    def keep(self, ids: Sequence[int], state: NDArray[np.uint8]) -> None:
        """Write a file, unless it alone is over the limit, and delete the least recently used beyond the limit."""
        tokens = np.asarray(ids, _TOKEN).tobytes()
        header = _HEADER.pack(_MAGIC, self._checksum(tokens, state), len(ids), len(state))
        size = len(header) + len(tokens) + len(state)
        if size > self._max_bytes:
            return
        name = f"{self._key}-{hashlib.sha256(tokens).hexdigest()[:24]}{_SUFFIX}"
        try:
            self._write(self._folder / name, (header, tokens, state.data))
            self._prune(keep=name, size=size)
        except OSError as error:
            _log.info("the prompt could not be kept in %s: %s", self._folder, error.strerror)

    def _candidates(self, ids: list[int]) -> Iterator[tuple[int, Path]]:
        """How many of the tokens each file shares."""
        for path in self._folder.glob(f"{self._key}-*{_SUFFIX}"):
            with suppress(OSError, struct.error, ValueError):
                with open(path, "rb") as file:
                    count = _HEADER.unpack(file.read(_HEADER.size))[2]
                    tokens = np.frombuffer(file.read(_TOKEN.itemsize * min(count, len(ids))), _TOKEN).tolist()
                yield common_prefix(tokens, ids, len(ids)), path

    def _read(self, path: Path) -> tuple[int, NDArray[np.uint8]] | None:
        """The number of tokens and the state; None where the file is not what was written."""
        try:
            content = np.fromfile(path, np.uint8)
            magic, checksum, num_tokens, num_bytes = _HEADER.unpack(content[: _HEADER.size].tobytes())
        except (OSError, struct.error):
            return None
        start = _HEADER.size + _TOKEN.itemsize * num_tokens
        tokens, state = content[_HEADER.size : start].tobytes(), content[start:]
        is_whole = magic == _MAGIC and len(state) == num_bytes and checksum == self._checksum(tokens, state)
        return (num_tokens, state) if is_whole else None

    def _checksum(self, tokens: bytes, state: NDArray[np.uint8]) -> bytes:
        digest = hashlib.sha256(self._key.encode())
        digest.update(tokens)
        digest.update(state.data)
        return digest.digest()

    def _write(self, path: Path, parts: Sequence[bytes | memoryview]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=_UNFINISHED, delete=False) as file:
            draft = Path(file.name)
            try:
                for part in parts:
                    file.write(part)
                file.close()
                draft.replace(path)
            except OSError:
                draft.unlink(missing_ok=True)
                raise

    def _prune(self, keep: str, size: int) -> None:
        """Another process may be tidying up too: what is gone is gone."""
        room = self._max_bytes - size
        for last_use, num_bytes, path in sorted(_entries(self._folder), reverse=True):
            if path.name == keep:
                continue
            is_draft = path.suffix == _UNFINISHED
            room -= 0 if is_draft else num_bytes
            if time.time() - last_use > _STALE_SECONDS if is_draft else room < 0:
                with suppress(OSError):
                    path.unlink()


def _drop(path: Path) -> None:
    _log.warning("%s is damaged: it is deleted, and the prompt computed again", path)
    with suppress(OSError):
        path.unlink()


def _entries(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """Last use, size and path of each file."""
    for path in folder.iterdir():
        if path.suffix in (_SUFFIX, _UNFINISHED):
            with suppress(OSError):
                status = path.stat()
                yield status.st_mtime, status.st_size, path

"""The beginning of a file that is being fetched: on the disk, so that another process can go on with it."""

import hashlib
import io
import os
from pathlib import Path
from types import TracebackType

from lite.errors import ModelError

__all__ = ["Part"]

_READ_BYTES = 1 << 20


class Part:
    """Opens what is there, or an empty file, and keeps the digest of all that it holds. Use `with`.

    `digest` is what the whole file of `num_bytes` must have: a SHA-256, or the SHA-1 that git gives to a file.
    Raises OSError where the disk refuses; what was written stays.
    """

    def __init__(self, path: Path, num_bytes: int, digest: str) -> None:
        self.path = path
        self._num_bytes = num_bytes
        self._wanted = digest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self._file = io.FileIO(path, "r+")
        self.size = 0
        self._hash = self._new_hash()
        self._read_on()

    def __enter__(self) -> "Part":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def write(self, chunk: bytes) -> None:
        """Append. Raises ModelError also where there would be more than the file has."""
        if self.size + len(chunk) > self._num_bytes:
            raise ModelError(f"the server sends more than the file's {self._num_bytes} bytes: try again")
        left = memoryview(chunk)
        while left:  # a full disk may take a part of it
            taken = self._file.write(left)
            self._hash.update(left[:taken])
            self.size += taken
            left = left[taken:]

    def restart(self) -> None:
        """Throw away what is there."""
        self._file.seek(0)
        self._file.truncate()
        self.size, self._hash = 0, self._new_hash()

    def check(self) -> None:
        """Raises ModelError, and throws away what is there, where the digest is not what it must be."""
        found = self._hash.hexdigest()
        if found != self._wanted:
            self.restart()
            raise ModelError(
                f"what came has the checksum {found}, and not {self._wanted} as the hub says: it was thrown away; try"
                " again"
            )

    def move_to(self, path: Path) -> None:
        """Give the whole file its name; the part is then no more."""
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self.path, path)

    def _read_on(self) -> None:
        """Take up what is there; what is too long cannot be its beginning."""
        if os.fstat(self._file.fileno()).st_size > self._num_bytes:
            self.restart()
        while chunk := self._file.read(_READ_BYTES):
            self._hash.update(chunk)
            self.size += len(chunk)

    def _new_hash(self) -> "hashlib._Hash":
        if len(self._wanted) == 64:
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % self._num_bytes, usedforsecurity=False)

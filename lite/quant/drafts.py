"""Files that are whole or not there: written under another name, and renamed when they are done."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lite.errors import UsageError

__all__ = ["draft_file", "draft_folder", "refuse_inputs"]

_SPARE = 1 << 20  # bytes that stay free


def refuse_inputs(target: Path, inputs: Iterable[Path]) -> None:
    """Raises UsageError where `target` is one of the files or folders that it is made of, under whatever name."""
    if target.exists() and any(path.exists() and target.samefile(path) for path in inputs):
        raise UsageError(f"{target} would be written over itself: name another target with -o")


@contextmanager
def draft_file(target: Path, *, force: bool, num_bytes: int) -> Iterator[Path]:
    """Where to write what becomes `target` when the `with` ends well; else nothing is left.

    `num_bytes` is about how large it will be. Raises UsageError where the target is there already (without `force`) or
    is a folder or a device, and where its folder is missing or has no room.
    """
    if target.exists() and not target.is_dir() and not target.is_file():
        raise UsageError(f"{target} is no regular file: it is not replaced; name another with -o")
    if target.is_dir() or (target.exists() and not force):
        what = "a folder" if target.is_dir() else "there already: --force replaces it"
        raise UsageError(f"{target} is {what}; or name another with -o")
    _check_room(target.parent, num_bytes)
    number, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(number)
    draft = Path(name)
    try:
        yield draft
        draft.chmod(0o666 & ~_umask())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def draft_folder(target: Path, *, force: bool, num_bytes: int, mark: str) -> Iterator[Path]:
    """Likewise a folder. With `force` an old one is replaced if it is empty or holds a file named `mark`."""
    if target.exists() and not (force and target.is_dir() and ((target / mark).exists() or not any(target.iterdir()))):
        hint = f"--force replaces a folder that holds {mark}" if target.is_dir() else "it is a file"
        raise UsageError(f"{target} is there already: {hint}; or name another with -o")
    _check_room(target.parent, num_bytes)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield draft
        draft.chmod(0o777 & ~_umask())
        if target.exists():
            shutil.rmtree(target)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _check_room(folder: Path, num_bytes: int) -> None:
    if not folder.is_dir():
        raise UsageError(f"the folder {folder} is not there: make it, or name another with -o")
    free = shutil.disk_usage(folder).free
    if free < num_bytes + _SPARE:
        raise UsageError(
            f"{folder} has {free / 2**20:.0f} MiB free, the result takes about {num_bytes / 2**20:.0f} MiB:"
            " make room, or name another folder with -o"
        )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

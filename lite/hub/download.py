"""A file of the hub, brought into the shared cache: resumed, checked, and put where every tool finds it."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lite.errors import ModelError, UsageError
from lite.hub.client import Broken, Hub, RepoFile
from lite.hub.part import Part
from lite.stores.hugging_face import repo_folder

__all__ = ["Progress", "fetch", "local_file"]

Progress = Callable[[int, int], None]  # (bytes that are there, bytes of the file)

_SPARE_BYTES = 64 << 20  # that a download leaves on the disk


def local_file(cache: Path, repo: str, commit: str, file: RepoFile) -> Path | None:
    """Where the file lies if it is there whole."""
    path = _snapshot_path(cache, repo, commit, file)
    try:
        return path if path.stat().st_size == file.num_bytes else None
    except OSError:
        return None


def fetch(hub: Hub, repo: str, revision: str, commit: str, file: RepoFile, tell: Progress) -> Path:
    """Bring a file, whose digest is known, into the cache; what an earlier try has brought is not fetched again.

    Raises UsageError where the disk has no room, before a byte is asked for, and ModelError: a wrong checksum, a disk
    that refuses, a server that does. Whatever is raised, KeyboardInterrupt too, what has come stays for the next try,
    unless it is wrong.
    """
    folder = repo_folder(hub.config.cache, repo)
    blob = folder / "blobs" / file.digest
    path = _snapshot_path(hub.config.cache, repo, commit, file)
    try:
        with _lock(hub.config.cache / ".locks" / folder.name / f"{file.digest}.lock"):
            if not _is_whole(blob, file.num_bytes):
                _bring(blob, hub, repo, commit, file, tell)
            _place(blob, path)
            _set_branch(folder, revision, commit)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ModelError(
            f"cannot write to {folder}: {reason}; make room there, or set HF_HUB_CACHE to another folder"
        ) from None
    return path


def _bring(blob: Path, hub: Hub, repo: str, commit: str, file: RepoFile, tell: Progress) -> None:
    with Part(blob.with_name(f"{file.digest}.incomplete"), file.num_bytes, file.digest) as part:
        _require_space(part, file)
        _fill(part, hub, repo, commit, file, tell)
        part.check()
        part.move_to(blob)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """The hub's own tools take the same lock, so that no two write to one file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path, timeout=0):
            yield
    except Timeout:
        raise ModelError("another process is fetching this file: wait until it is done") from None


def _fill(part: Part, hub: Hub, repo: str, commit: str, file: RepoFile, tell: Progress) -> None:
    """Ask for what is missing until it has all come."""
    tell(part.size, file.num_bytes)
    failures = 0
    while part.size < file.num_bytes:
        before = part.size
        try:
            _append(part, hub, repo, commit, file, tell)
            broken = Broken(f"the server ends {file.path} after {part.size} of {file.num_bytes} bytes")
        except Broken as error:
            broken = error
        if part.size < file.num_bytes:
            failures = 1 if part.size > before else failures + 1
            hub.wait_after(broken, failures)


def _append(part: Part, hub: Hub, repo: str, commit: str, file: RepoFile, tell: Progress) -> None:
    with hub.body(repo, commit, file, part.size) as body:
        if body.start != part.size:
            part.restart()
        for chunk in body.chunks:
            part.write(chunk)
            tell(part.size, file.num_bytes)


def _require_space(part: Part, file: RepoFile) -> None:
    needed = file.num_bytes - part.size
    free = shutil.disk_usage(part.path.parent).free
    if needed + _SPARE_BYTES > free:
        raise UsageError(
            f"{file.path} needs {needed >> 20} MiB more at {part.path.parent}, where {free >> 20} MiB are free: make"
            " room, set HF_HUB_CACHE to another folder, or choose a smaller file"
        )


def _place(blob: Path, path: Path) -> None:
    """Let the snapshot point to the blob; where links are not allowed, as on many a Windows, it takes its place."""
    if _is_whole(path, blob.stat().st_size):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        path.symlink_to(os.path.relpath(blob, path.parent))
    except OSError:
        os.replace(blob, path)


def _set_branch(folder: Path, revision: str, commit: str) -> None:
    if revision != commit:
        branch = folder / "refs" / revision
        branch.parent.mkdir(parents=True, exist_ok=True)
        branch.write_text(commit, "utf-8")


def _snapshot_path(cache: Path, repo: str, commit: str, file: RepoFile) -> Path:
    return repo_folder(cache, repo).joinpath("snapshots", commit, *file.path.split("/"))


def _is_whole(path: Path, num_bytes: int) -> bool:
    try:
        return path.stat().st_size == num_bytes
    except OSError:
        return False

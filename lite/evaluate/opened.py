"""Logs opened for reading, ours and those of other tools."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from lite.evaluate.checking import Checker
from lite.evaluate.foreign import convert, is_lite_log
from lite.evaluate.log import Log, read_log

__all__ = ["opened_logs"]


@contextmanager
def opened_logs(paths: Sequence[Path], checker: Checker) -> Iterator[Log]:
    """The logs as one, for as long as the context lasts; what others wrote is converted first. Raises UsageError."""
    with TemporaryDirectory(prefix="lite-") as folder:
        ours = []
        for number, path in enumerate(paths):
            ours.append(path if is_lite_log(path) else Path(folder, f"{number}.jsonl"))
            if ours[-1] != path:
                convert(path, ours[-1], checker)
        yield read_log(ours)

"""Logs opened for reading, ours and those of other tools."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from lite.errors import UsageError
from lite.evaluate.checking import Checker
from lite.evaluate.foreign import convert, is_lite_log
from lite.evaluate.log import Log, check_regular, read_log

__all__ = ["check_outputs", "opened_logs"]


def check_outputs(logs: Sequence[Path], outputs: Mapping[str, Path | None]) -> None:
    """Raises UsageError where what is written, by option, would overwrite a log or another output."""
    taken = [("one of LOGS", log) for log in logs]
    for option, path in outputs.items():
        if path is None:
            continue
        for what, other in taken:
            if _are_same(path, other):
                raise UsageError(f"{option} would overwrite {path}, which is {what}: name another file")
        taken.append((f"the file of {option}", path))


@contextmanager
def opened_logs(paths: Sequence[Path], checker: Checker) -> Iterator[Log]:
    """The logs as one, for as long as the context lasts; what others wrote is converted first. Raises UsageError."""
    with TemporaryDirectory(prefix="lite-") as folder:
        ours = []
        for number, path in enumerate(paths):
            check_regular(path)
            ours.append(path if is_lite_log(path) else Path(folder, f"{number}.jsonl"))
            if ours[-1] != path:
                convert(path, ours[-1], checker)
        yield read_log(ours)


def _are_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one is not there yet
        return os.path.realpath(one) == os.path.realpath(other)

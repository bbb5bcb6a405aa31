"""One live line on stderr: how far a long run is, how fast it goes, and how long it will take."""

import shutil
import sys
import time
from typing import TextIO

from lite.cli.table import clip

__all__ = ["RateLine", "duration", "is_terminal"]

_REFRESH_SECONDS = 0.2


class RateLine:
    """Shown on a terminal only; erased at the end."""

    def __init__(self, total: int, what: str, *, quiet: bool = False) -> None:
        self._total = total
        self._what = what
        self._shown = 0.0
        self._begun = time.monotonic()
        self._is_watched = is_terminal(sys.stderr) and not quiet
        self._width = 0

    def show(self, done: int, tokens: int) -> None:
        """Tell it how much is done by now."""
        now = time.monotonic()
        if self._is_watched and now - self._shown >= _REFRESH_SECONDS:
            self._shown = now
            self._draw(self._line(done, tokens, now - self._begun))

    def close(self) -> None:
        if self._is_watched and self._width:
            self._draw("")
            sys.stderr.write("\r")
            sys.stderr.flush()

    def _line(self, done: int, tokens: int, seconds: float) -> str:
        line = f"{done} of {self._total} {self._what}, {tokens} tokens, {tokens / max(seconds, 1e-3):.0f} tok/s"
        return f"{line}, {duration(seconds / done * (self._total - done))} left" if done else line

    def _draw(self, line: str) -> None:
        line = clip(line, shutil.get_terminal_size().columns - 1)
        sys.stderr.write("\r" + line.ljust(self._width))
        sys.stderr.flush()
        self._width = len(line)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person watches it. A stream that was closed at the start of the process is None."""
    return stream is not None and stream.isatty()


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03, or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

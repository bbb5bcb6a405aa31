"""Whether an answer is right: `lite.answers` first, then math-verify where it is installed.

math-verify reads LaTeX with a computer algebra system, which a hostile text can keep busy for ever or bring down. So
it works in a process of its own that is killed when it does not answer in time, and such an answer is wrong.
"""

import json
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import TracebackType

from lite.answers import equivalent
from lite.evaluate.items import Item

__all__ = ["Checker", "MathWorker"]

_LONGEST = 1_000  # characters that math-verify is asked about; longer ones are compared as they stand
_START_SECONDS = 60.0  # for its imports, on a busy machine


class Checker:
    """Decides what is right. With `use_math_verify` None that is used where it is installed.

    Each pair of answers is looked at once. `name` says what decided, for the log.
    """

    def __init__(self, *, use_math_verify: bool | None = None, seconds: float = 5.0) -> None:
        wanted = find_spec("math_verify") is not None if use_math_verify is None else use_math_verify
        self._worker = MathWorker(seconds) if wanted else None
        self._known: dict[tuple[str, str], bool] = {}

    @property
    def name(self) -> str:
        return f"lite, then math-verify {_version()}" if self._worker else "lite"

    def is_right(self, value: str | None, item: Item) -> bool:
        """Whether a value is the item's answer; None never is."""
        if value is None:
            return False
        pair = (value, item.answer)
        if pair not in self._known:
            self._known[pair] = equivalent(*pair) or (not item.choices and self._verify(*pair))
        return self._known[pair]

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()

    def __enter__(self) -> "Checker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _verify(self, value: str, answer: str) -> bool:
        if self._worker is None or len(value) > _LONGEST or (_is_plain(value) and _is_plain(answer)):
            return False
        return self._worker.verify(value, answer)


class MathWorker:
    """A process that compares two answers with math-verify, killed after `seconds` and started again when needed."""

    command: tuple[str, ...] = (sys.executable, "-m", "lite.evaluate.math_worker")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def verify(self, value: str, answer: str) -> bool:
        """False also where the process dies or does not answer in time."""
        process = self._process if self._process and self._process.poll() is None else self._start()
        if process is None or process.stdin is None:
            return False
        try:
            process.stdin.write(json.dumps([value, answer]) + "\n")
            process.stdin.flush()
            said = self._lines.get(timeout=self._seconds)
        except (queue.Empty, OSError):
            said = ""
        if said not in ("true", "false"):
            self.close()
        return said == "true"

    def close(self) -> None:
        """Kill the process; idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with suppress(OSError):  # what was not flushed is of no use to a killed process
                        stream.close()

    def _start(self) -> "subprocess.Popen[str] | None":
        """The process, once it says that it is ready."""
        self.close()
        pipe = subprocess.PIPE
        process = subprocess.Popen(self.command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        self._process, self._lines = process, queue.SimpleQueue()
        threading.Thread(target=_read, args=(process, self._lines), daemon=True).start()
        try:
            ready = self._lines.get(timeout=_START_SECONDS) == "ready"
        except queue.Empty:
            ready = False
        if not ready:
            self.close()
        return process if ready else None


def _read(process: "subprocess.Popen[str]", lines: "queue.SimpleQueue[str]") -> None:
    """Pass on what the process says; "" at its end."""
    assert process.stdout is not None
    try:
        for line in process.stdout:
            lines.put(line.strip())
    except ValueError:
        pass  # closed while it was read
    lines.put("")


def _is_plain(text: str) -> bool:
    """A bare number: what `lite.answers` compares exactly, with nothing left for algebra."""
    return text.strip().lstrip("-").replace(".", "", 1).replace(",", "").isdigit()


def _version() -> str:
    try:
        return version("math-verify")
    except PackageNotFoundError:
        return "(unknown)"

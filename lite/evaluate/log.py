"""The log of an evaluation: JSON lines that are only ever added to.

A line is written in one piece once all that it tells is settled, so a process that is killed loses at most the line
it was writing. The first key says what a line is:

    lite_log   version; the task, the model (name, engine, format, sha256), its traits and abilities, the settings
    plan       the labels of the strategies, in order, and the samples asked for, at the start of a session
    question   an id; its place in the task, text, choices, right answer, and the text's hash
    branch     a key that names all that decides its tokens (hash of prompt, parameters, prefix, sample, parent): one
               sample of a question, drawn for the strategy named, whoever else used it; its request, seed, ids,
               texts, statistics a token, end, value, whether that is right, and what it cost
    answer     a strategy's label: its answer to a question, with its candidates by branch, its own account, the hash
               of its settings, and when it came

Statistics are columns of `columns.py`, from position `start` on: below 0 is a scored prefix. Several logs of one model
and task read as one. Where a branch stands twice, the longest is taken; where an answer does, the last.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

from lite.errors import UsageError
from lite.evaluate.columns import pack_floats, unpack_floats
from lite.evaluate.fields import lacking
from lite.evaluate.items import Item
from lite.ledger import Ledger
from lite.sampler import Chunk, Reason, Request

__all__ = [
    "VERSION",
    "Log",
    "LogWriter",
    "LoggedBranch",
    "Place",
    "Plain",
    "Shelf",
    "check_place",
    "check_regular",
    "plain_chunk",
    "plain_ledger",
    "read_branch",
    "read_log",
]

VERSION = 1
Plain: TypeAlias = dict[str, Any]

_STATISTICS = ("logprobs", "entropy", "certainty")
_NATURAL: frozenset[Reason] = frozenset(("eos", "stop", "length"))


class LogWriter:
    """Adds lines to a file. Opening it cuts off a line that was never finished.

    Raises UsageError where no log can be, or another process writes to it (as far as the system has locks for files).
    """

    def __init__(self, path: Path) -> None:
        check_place(path)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
        _lock(self._descriptor, path)
        _cut_torn_line(path)

    def write(self, lines: Iterable[Plain]) -> None:
        """Each line at once, unbuffered."""
        for line in lines:
            text = json.dumps(line, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            data = text.encode("utf-8", "backslashreplace") + b"\n"
            while data:
                data = data[os.write(self._descriptor, data) :]

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> "LogWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class LoggedBranch:
    """A recorded branch: what `LogSampler` plays back."""

    key: str
    stream: str  # the key without the longest length
    scored: Chunk | None  # these two belong to a Request of no meaning
    drawn: Chunk
    reason: Reason
    cost: Ledger

    @property
    def is_whole(self) -> bool:
        """Whether it came to its own end."""
        return self.reason in _NATURAL

    @property
    def context(self) -> int:
        """Tokens before the first drawn one."""
        return self.cost.prompt_tokens + self.cost.cached_tokens + self.cost.forced_tokens


@dataclass(frozen=True, slots=True)
class Place:
    """Where in which file a branch's line stands, and what is asked of it most."""

    path: Path
    offset: int
    is_whole: bool  # it came to its own end
    is_root: bool  # no fork
    length: int
    stream: str  # its key without the longest length
    sample: int
    value: str | None
    right: bool
    mean_certainty: float | None
    mean_logprob: float | None

    @classmethod
    def of(cls, line: Plain, path: Path, offset: int) -> "Place":
        return cls(
            path,
            offset,
            is_whole=line["reason"] in _NATURAL,
            is_root=line["parent"] is None,
            length=len(line["ids"]),
            stream=line["stream"],
            sample=line["sample"],
            value=line["value"],
            right=line["right"],
            mean_certainty=line["means"]["certainty"],
            mean_logprob=line["means"]["logprob"],
        )

    def read(self) -> Plain:
        """The line."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            line: Plain = json.loads(file.readline())
            return line


class Shelf:
    """Recorded branches of one question by their keys. Each is read once, when it is first asked for."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = places
        self._read: dict[str, LoggedBranch] = {}
        self._streams: dict[str, str] = {}  # the key of each stream's longest
        for key in sorted(places, key=lambda key: (places[key].is_whole, places[key].length)):
            self._streams[places[key].stream] = key

    def branch(self, key: str) -> LoggedBranch | None:
        """The branch of that key."""
        if key not in self._read and key in self._places:
            self._read[key] = read_branch(self._places[key].read())
        return self._read.get(key)

    def longest(self, stream: str) -> LoggedBranch | None:
        """Of the branches that differ in their longest length alone, the one that tells most."""
        return self.branch(self._streams.get(stream, ""))


@dataclass(slots=True)
class Log:
    """What logs hold, branches left on the disk. Dicts keep the order of the lines."""

    head: Plain
    labels: list[str] = field(default_factory=list)  # in the order of the plans
    samples: int | None = None  # a question, as the last plan says; None: each strategy's own
    items: dict[str, Item] = field(default_factory=dict)  # by question id, in the task's order
    hashes: dict[str, str] = field(default_factory=dict)  # of the items, by id
    answers: dict[tuple[str, str], Plain] = field(default_factory=dict)  # by (question id, label)
    _branches: dict[str, dict[str, Place]] = field(default_factory=dict)

    def places(self, question: str) -> Mapping[str, Place]:
        """The question's branches by key."""
        return self._branches.get(question, {})

    def lines(self, question: str) -> Iterator[Plain]:
        """The lines of the question's branches, read from the disk."""
        for place in self.places(question).values():
            yield place.read()

    def shelf(self, question: str) -> "Shelf":
        """The question's branches, each read when it is first asked for."""
        return Shelf(self.places(question))

    def add(self, line: Plain, path: Path, offset: int) -> None:
        """Take in a line that stands at `offset` of a file."""
        if "branch" in line:
            self._add_branch(line, Place.of(line, path, offset))
        elif "answer" in line:
            self.answers[line["question"], line["answer"]] = line
        elif "question" in line:
            self._add_question(line)
        elif "plan" in line:
            self.labels.extend(label for label in line["plan"] if label not in self.labels)
            self.samples = line["samples"]
        elif "lite_log" in line:
            _check_same_kind(self.head, line)

    def sort(self) -> None:
        """Bring the questions into the task's order."""
        ordered = sorted(self.items.values(), key=lambda item: (item.index, item.id))
        self.items = {item.id: item for item in ordered}

    def _add_branch(self, line: Plain, place: Place) -> None:
        places = self._branches.setdefault(line["question"], {})
        there = places.get(line["branch"])
        if there is None or (place.is_whole, place.length) > (there.is_whole, there.length):
            places[line["branch"]] = place

    def _add_question(self, line: Plain) -> None:
        name = line["question"]
        if self.hashes.setdefault(name, line["hash"]) != line["hash"]:
            raise UsageError(f"question {name} differs from log to log: these are logs of different tasks")
        self.items[name] = Item(
            id=name,
            question=line["text"],
            answer=line["right_answer"],
            choices=tuple(line["choices"]),
            index=line["index"],
        )


def read_log(paths: Sequence[Path]) -> Log:
    """Read logs as one. Raises UsageError for a file that is none or is damaged, or for logs of different kinds.

    A last line that was never finished is passed over.
    """
    log: Log | None = None
    for path in paths:
        for number, offset, raw in _raw_lines(path):
            try:
                line = json.loads(raw)
                if log is None:
                    log = Log(head=_head(line))
                elif number == 1:
                    _head(line)
                missing = lacking(line)
                if not missing:
                    log.add(line, path, offset)
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                raise UsageError(f"{path}, line {number} is not of a lite log (version {VERSION}): {error}") from None
            if missing:
                raise UsageError(f"line {number} of {path} is damaged: it lacks {', '.join(map(repr, missing))}")
    if log is None:
        raise UsageError(f"{paths[0] if paths else 'the log'} is empty: it holds no line of a lite log")
    log.sort()
    return log


def read_branch(line: Plain) -> LoggedBranch:
    """The branch that a line holds."""
    request = Request("")
    start, count = line["start"], len(line["ids"])
    columns = {name: unpack_floats(line.get(name, "")) for name in _STATISTICS}
    top = tuple(tuple((token, p) for token, p in best) for best in _tops(line.get("top"), count))

    def chunk(begin: int, end: int) -> Chunk:
        return Chunk(
            request,
            start + begin,
            tuple(line["ids"][begin:end]),
            tuple(line["texts"][begin:end]),
            columns["logprobs"][begin:end],
            columns["entropy"][begin:end],
            columns["certainty"][begin:end],
            top[begin:end],
        )

    scored = chunk(0, -start) if start < 0 else None
    return LoggedBranch(
        key=line["branch"],
        stream=line["stream"],
        scored=scored,
        drawn=chunk(-start, count),
        reason=line["reason"],
        cost=Ledger(**line["cost"]),
    )


def check_regular(path: Path) -> None:
    """Raises UsageError for what is there and can have no end or no place: a device, a pipe, a folder."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is no regular file: name another for the log")


def check_place(path: Path) -> None:
    """Raises UsageError where no log can be written: in no folder, or in the place of what is no regular file."""
    check_regular(path)
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} for {path.name}: make it, or name another file")


def plain_chunk(scored: Chunk | None, drawn: Chunk) -> Plain:
    """A branch's tokens as a line holds them."""
    parts = [chunk for chunk in (scored, drawn) if chunk is not None]
    plain: Plain = {
        "start": parts[0].start,
        "ids": [token for chunk in parts for token in chunk.ids],
        "texts": [text for chunk in parts for text in chunk.texts],
    }
    for name in _STATISTICS:
        plain[name] = pack_floats([value for chunk in parts for value in getattr(chunk, name)])
    top = [best for chunk in parts for best in chunk.top]
    if top:
        plain["top"] = {
            "counts": [len(best) for best in top],
            "ids": [token for best in top for token, _ in best],
            "logprobs": pack_floats([p for best in top for _, p in best]),
        }
    return plain


def plain_ledger(ledger: Ledger) -> Plain:
    """The fields that differ from their defaults."""
    return {f.name: getattr(ledger, f.name) for f in fields(ledger) if getattr(ledger, f.name) != f.default}


def _tops(plain: Mapping[str, Any] | None, count: int) -> Iterator[list[tuple[int, float]]]:
    if not plain:
        return
    pairs = iter(zip(plain["ids"], unpack_floats(plain["logprobs"]), strict=True))
    for size in plain["counts"]:
        yield [next(pairs) for _ in range(size)]


def _raw_lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """(number from 1, offset, line) of every finished line."""
    offset = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if raw.endswith(b"\n") and raw.strip():
                yield number, offset, raw
            offset += len(raw)


def _head(line: Plain) -> Plain:
    if not isinstance(line, dict) or line.get("lite_log") != VERSION:
        raise ValueError('its first line has no "lite_log"')
    return line


def _check_same_kind(first: Plain, second: Plain) -> None:
    for part in ("task", "model", "options", "checker"):
        if first[part] != second[part]:
            raise UsageError(f"these logs do not belong together: their {part} differs, {first[part]}, {second[part]}")


def _lock(descriptor: int, path: Path) -> None:
    """Until the file is closed, or the process ends."""
    try:
        import fcntl
    except ImportError:
        return  # Windows
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise UsageError(f"another process is writing to {path}: wait for it, or choose another --log") from None


def _cut_torn_line(path: Path) -> None:
    """A line without its end was being written when the process was killed."""
    with path.open("r+b") as file:
        whole = 0
        for raw in file:
            if raw.endswith(b"\n"):
                whole += len(raw)
        file.truncate(whole)

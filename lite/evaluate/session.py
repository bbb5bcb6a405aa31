"""One session of an evaluation: what a log lacks is drawn and added to it, line by line."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from uuid import uuid4

from lite.budget import Budget
from lite.errors import UsageError
from lite.evaluate.checking import Checker
from lite.evaluate.entries import Entry
from lite.evaluate.evaluation import Evaluation, Job
from lite.evaluate.items import Item, item_hash
from lite.evaluate.log import Log, LogWriter, Plain, check_place, read_log
from lite.options import num_samples
from lite.sampler import Sampler

__all__ = ["check_continues", "continue_log", "draw_lines", "open_log", "questions_at_once"]


def open_log(path: Path) -> Log | None:
    """The log that is there; None for no file, or one without a finished line.

    Raises UsageError for a path where no log can be, and for a file that is none.
    """
    check_place(path)
    if not path.exists():
        return None
    with path.open("rb") as file:
        begin = file.read(2**20)
    if b"\n" in begin:
        return read_log([path])
    if not b'{"lite_log"'.startswith(begin[:11]):
        raise UsageError(f"{path} is no lite log: choose another --log")
    return None


def check_continues(log: Log, head: Plain, items: Iterable[Item], path: Path) -> None:
    """Raises UsageError unless what is to be drawn belongs into the log that is there."""
    for part in ("task", "model", "options", "checker"):
        if log.head[part] != head[part]:
            was, now = log.head[part], head[part]
            raise UsageError(f"{path} was drawn with another {part} ({was}, now {now}): choose another --log")
    if head.get("remote") not in (None, log.head.get("remote")):
        was = log.head.get("remote", "none")
        raise UsageError(
            f"{path} was drawn with another remote model ({was}, now {head['remote']}): choose another --log"
        )
    for item in items:
        if log.hashes.get(item.id, item_hash(item)) != item_hash(item):
            raise UsageError(f"question {item.id} is not the one that {path} holds: choose another --log")


def continue_log(
    path: Path,
    head: Plain,
    entries: Sequence[Entry],
    parts: Iterable[Sequence[Plain]],
    *,
    samples: int | None,
    begun: bool,
) -> Generator[Sequence[Plain], None, None]:
    """Write what `parts` yields, each line at once, and hand it on.

    `samples` is how many were asked for, `begun` says that the log has its head already.
    """
    with LogWriter(path) as writer:
        writer.write([] if begun else [head])
        writer.write([{"plan": [entry.label for entry in entries], "samples": samples}])
        for lines in parts:
            writer.write(lines)
            yield lines


def draw_lines(
    jobs: Sequence[Job],
    samplers: Mapping[str, Sampler],
    checker: Checker,
    *,
    num_slots: int,
    head: Plain,
    top_logprobs: int = 0,
    on_step: Callable[[Evaluation], None] | None = None,
) -> Generator[list[Plain], None, None]:
    """The lines of these jobs, drawn here and now. `on_step` is told how far it is."""
    tokens = head["options"]["budget_tokens"]
    entries = {job.entry.label: job.entry for job in jobs}.values()
    evaluation = Evaluation(
        jobs,
        samplers,
        checker,
        concurrency=questions_at_once(entries, num_slots) * max(1, len(entries)),
        session=uuid4().hex[:12],
        budget=None if tokens is None else Budget(tokens=tokens),
        top_logprobs=top_logprobs,
    )
    with closing(evaluation.lines()) as parts:
        for lines in parts:
            if on_step is not None:
                on_step(evaluation)
            if lines:
                yield lines


def questions_at_once(entries: Iterable[Entry], num_slots: int) -> int:
    """As many questions as fill the slots, and one more, so that none is free while others end."""
    largest = max((num_samples(entry.strategy) for entry in entries), default=1)
    return -(-num_slots // max(1, largest)) + 1

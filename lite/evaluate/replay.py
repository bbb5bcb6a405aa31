"""Strategies over a log, without the model: the very strategies, driven over what was recorded.

    log = read_log([Path("run.jsonl")])
    for line in replay(log, [make_entry("self-certainty:power=0.5", options_of(log))], checker):
        ...

A replay gives exactly the answer and the account of a live run on the same samples. A strategy that needs what was not
recorded (other parameters, forks, more of a branch than was drawn) is refused, and the line says what is missing.
"""

from collections.abc import Generator, Iterable, Sequence
from typing import Any

from lite.budget import Budget
from lite.errors import LiteError, UsageError
from lite.evaluate.account import LOCKSTEP, Followed
from lite.evaluate.checking import Checker
from lite.evaluate.entries import Entry
from lite.evaluate.evaluation import Job, answer_line
from lite.evaluate.items import Item
from lite.evaluate.log import Log, Plain, Shelf
from lite.evaluate.playback import LogSampler
from lite.options import Options
from lite.params import SamplingParams
from lite.runner import run
from lite.sampler import Answer, Request, Traits

__all__ = ["add_replayed", "budget_of", "options_of", "replay"]


def options_of(log: Log) -> Options:
    """The settings that the log was drawn with, for the strategies to be replayed."""
    options = log.head["options"]
    params: dict[str, Any] = dict(options["params"])
    params["stop"] = tuple(params.get("stop", ()))
    params["logit_bias"] = tuple((token, float(bias)) for token, bias in params.get("logit_bias", ()))
    return {
        "params": SamplingParams(**params),
        "samples": log.samples,
        "think": options["think"],
        "system": options["system"],
    }


def budget_of(log: Log) -> Budget:
    """The budget of each question; LOCKSTEP where there was none."""
    tokens = log.head["options"]["budget_tokens"]
    return LOCKSTEP if tokens is None else Budget(tokens=tokens)


def replay(
    log: Log, entries: Sequence[Entry], checker: Checker, *, questions: Iterable[str] | None = None
) -> Generator[Plain, None, None]:
    """The answer lines, question by question. Raises UsageError for an entry that the log cannot serve."""
    for name in log.items if questions is None else questions:
        branches = log.shelf(name)
        for entry in entries:
            yield _replayed(log, log.items[name], entry, branches, checker)


def add_replayed(log: Log, entries: Sequence[Entry], lines: Iterable[Plain]) -> None:
    """Put replayed answers into the log as it is in memory, in the place of any that stand under the same label."""
    log.labels.extend(entry.label for entry in entries if entry.label not in log.labels)
    for line in lines:
        log.answers[line["question"], line["answer"]] = line


def _replayed(log: Log, item: Item, entry: Entry, branches: Shelf, checker: Checker) -> Plain:
    job = Job(item, entry)
    samplers = _run_whole(log, job, branches) or _run_in_step(log, job, branches)
    if isinstance(job.outcome, LiteError) and not _failed_alike(log, item, entry):
        raise UsageError(f"{entry.label} cannot be replayed on question {item.id}: {job.outcome}")

    def followed(request: Request) -> Followed | None:
        sampler = samplers.get(request.sampler)
        branch = sampler.branch(request) if sampler else None
        return Followed(branch.key, branch.context, branch.cost) if branch else None

    return answer_line(job, checker, followed)


def _run_whole(log: Log, job: Job, branches: Shelf) -> "dict[str, LogSampler] | None":
    """The quick way: all tokens at once, then the ends one by one. None where it would not do.

    A flow that asks for nothing more and answers only when the last branch has ended would have answered the same,
    and taken the same tokens, had they come one by one: it had less to go on then.
    """
    if budget_of(log) is not LOCKSTEP:
        return None
    samplers = _samplers(log, branches, ends_apart=True)
    _run(job, samplers, Budget())
    return samplers if isinstance(job.outcome, Answer) and job.watched.took_all else None


def _run_in_step(log: Log, job: Job, branches: Shelf) -> dict[str, LogSampler]:
    """The way that is always right: one token of each branch at a time."""
    samplers = _samplers(log, branches, ends_apart=False)
    _run(job, samplers, budget_of(log))
    return samplers


def _run(job: Job, samplers: dict[str, LogSampler], budget: Budget) -> None:
    try:
        (job.outcome,) = run(job.watched, [job.question], samplers, budget=budget, return_errors=True)
    except LiteError as error:
        job.outcome = error


def _samplers(log: Log, branches: Shelf, *, ends_apart: bool) -> dict[str, LogSampler]:
    return {
        name: LogSampler(branches, can=plain["can"], traits=Traits(**plain["traits"]), ends_apart=ends_apart)
        for name, plain in log.head["samplers"].items()
    }


def _failed_alike(log: Log, item: Item, entry: Entry) -> bool:
    """Whether the live run ended with an error too, such as a prompt that is too long."""
    line = log.answers.get((item.id, entry.label), {})
    return line.get("config") == entry.config and "error" in line

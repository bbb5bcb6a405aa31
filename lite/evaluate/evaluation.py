"""Runs strategies over questions on one sampler and tells, line by line, what belongs into the log.

Question by question all strategies are under way together: equal samples are drawn once, all branches share the
engine's batch, and each strategy's flow is given its tokens as if it were alone (see `account.py`).
"""

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from math import isfinite

from lite.budget import Budget
from lite.errors import BackendError, LiteError
from lite.evaluate.account import LOCKSTEP, Followed, Watched, account
from lite.evaluate.checking import Checker
from lite.evaluate.energy import EnergyMeter
from lite.evaluate.entries import Entry
from lite.evaluate.items import Item, item_hash
from lite.evaluate.log import Log, Plain, plain_chunk, plain_ledger
from lite.evaluate.shared import SharedSampler, Stem, plain_request, stem_chunk
from lite.record import Encoder
from lite.runner import Outcome, drive
from lite.sampler import Answer, Candidate, Question, Request, Sampler
from lite.strategies.verdict import value_in

__all__ = ["Evaluation", "Job", "answer_line", "jobs_left", "question_line"]


@dataclass(slots=True, eq=False)
class Job:
    """A strategy's work on one question."""

    item: Item
    entry: Entry
    watched: Watched = field(init=False)
    outcome: Outcome | None = None

    def __post_init__(self) -> None:
        self.watched = Watched(self.entry.strategy)

    @property
    def question(self) -> Question:
        return self.entry.question(self.item)

    @property
    def requests(self) -> tuple[Request, ...]:
        return tuple(self.watched.taken)


def jobs_left(items: Iterable[Item], entries: Sequence[Entry], log: Log | None) -> list[Job]:
    """What the log does not answer yet, question by question."""
    answers: Mapping[tuple[str, str], Plain] = log.answers if log else {}
    return [
        Job(item, entry)
        for item in items
        for entry in entries
        if answers.get((item.id, entry.label), {}).get("config") != entry.config
    ]


class Evaluation:
    """One session over the jobs that are left. `tokens` and `answers` tell how far it is."""

    def __init__(
        self,
        jobs: Sequence[Job],
        samplers: Mapping[str, Sampler],
        checker: Checker,
        *,
        concurrency: int,
        session: str,
        budget: Budget | None = None,
        top_logprobs: int = 0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.answers = 0
        self._jobs = jobs
        top = max(top_logprobs, _most_top(jobs, samplers))
        self._shared = {name: SharedSampler(sampler, top_logprobs=top) for name, sampler in samplers.items()}
        self._checker = checker
        self._concurrency = concurrency
        self._session = session
        self._budget = budget or LOCKSTEP
        self._clock = clock
        self._began = clock()
        self._meter = EnergyMeter()
        self._left: dict[str, list[Job]] = {}  # by question, what is not written yet
        for job in jobs:
            self._left.setdefault(job.item.id, []).append(job)
        self._requests: dict[str, list[Request]] = {}  # of a question's written jobs
        self._written: set[tuple[str, str]] = set()  # (question, key) of branches
        self._asked: set[str] = set()  # questions whose line is written

    @property
    def tokens(self) -> int:
        """Drawn so far."""
        return sum(shared.num_sampled for shared in self._shared.values())

    def lines(self) -> Generator[list[Plain], None, None]:
        """After every step the lines that are due, often none. Closing the iterator stops all branches.

        A strategy's own error on a question is its answer's line; a BackendError is raised: the engine is at fault.
        """
        questions = [job.question for job in self._jobs]
        strategies = [job.watched for job in self._jobs]
        ticks = drive(strategies, questions, self._shared, budget=self._budget, concurrency=self._concurrency)
        waiting: list[Job] = []
        with closing(ticks):
            for tick in ticks:
                for index, outcome in tick.outcomes.items():
                    self._jobs[index].outcome = _checked(outcome)
                    waiting.append(self._jobs[index])
                yield self._due(waiting)

    def _due(self, waiting: list[Job]) -> list[Plain]:
        """The lines of those jobs all of whose branches have ended; they are taken from the list."""
        lines: list[Plain] = []
        for job in list(waiting):
            stems = [stem for request in job.requests if (stem := self._stem(request))]
            if all(stem.is_over for stem in stems):
                waiting.remove(job)
                lines.extend(self._settle(job, stems))
        return lines

    def _settle(self, job: Job, stems: Sequence[Stem]) -> list[Plain]:
        name = job.item.id
        lines = [] if name in self._asked else [question_line(job.item)]
        self._asked.add(name)
        for stem in stems:
            if (name, stem.key) not in self._written:
                self._written.add((name, stem.key))
                lines.append(self._branch_line(job, stem))
        lines.append(self._answer_line(job))
        self.answers += 1
        self._forget(job)
        return lines

    def _forget(self, job: Job) -> None:
        """Once a question's last job is settled its branches are let go."""
        left = self._left[job.item.id]
        left.remove(job)
        self._requests.setdefault(job.item.id, []).extend(job.requests)
        if not left:
            self._written = {pair for pair in self._written if pair[0] != job.item.id}
            requests = self._requests.pop(job.item.id)
            for shared in self._shared.values():
                shared.forget(requests)

    def _stem(self, request: Request) -> Stem | None:
        shared = self._shared.get(request.sampler)
        return shared.stem(request) if shared else None

    def _branch_line(self, job: Job, stem: Stem) -> Plain:
        drawn = stem.drawn
        assert drawn.finished is not None
        traits = {name: shared.traits for name, shared in self._shared.items()}
        question = replace(job.question, models=traits)
        value = value_in(question, drawn)
        request = plain_request(stem.request)
        if request["prompt"] == _plain_prompt(question):
            request["prompt"] = None
        return {
            "branch": stem.key,
            "question": job.item.id,
            "strategy": job.entry.label,
            "sample": stem.request.sample,
            "seed": stem.request.params.seed,
            "stream": stem.stream,
            "parent": stem.parent.key if stem.parent else None,
            "request": request,
            "value": value,
            "right": self._checker.is_right(value, job.item),
            "means": {"certainty": drawn.mean_certainty, "logprob": drawn.mean_logprob},
            "reason": drawn.finished.reason,
            "cost": plain_ledger(drawn.finished.cost),
            **plain_chunk(stem.scored, stem_chunk(stem)),
        }

    def _answer_line(self, job: Job) -> Plain:
        def followed(request: Request) -> Followed | None:
            stem = self._stem(request)
            return Followed(stem.key, stem.context, stem.cost) if stem else None

        line = answer_line(job, self._checker, followed)
        seconds = job.outcome.cost.seconds if isinstance(job.outcome, Answer) else 0.0
        clock = round(self._clock() - self._began, 3)
        measured = {"seconds": round(seconds, 3), "session": self._session, "clock": clock}
        return {**line, **measured, "sampled": self.tokens, "joules": self._meter.joules()}


def question_line(item: Item) -> Plain:
    """What the log says of a question."""
    return {
        "question": item.id,
        "index": item.index,
        "text": item.question,
        "choices": list(item.choices),
        "right_answer": item.answer,
        "hash": item_hash(item),
    }


def answer_line(
    job: Job,
    checker: Checker,
    followed: Callable[[Request], Followed | None],
) -> Plain:
    """What the log says of a settled job: the part that is the same in every run and every replay."""
    outcome = job.outcome

    def key(request: Request) -> str:
        branch = followed(request)
        return branch.key if branch else ""

    answer = outcome if isinstance(outcome, Answer) else Answer(text="", value=None, confidence=None, candidates=())
    line: Plain = {
        "answer": job.entry.label,
        "question": job.item.id,
        "config": job.entry.config,
        "value": answer.value,
        "right": checker.is_right(answer.value, job.item),
        "text": answer.text,
        "confidence": answer.confidence,
        "candidates": [
            _candidate(one, key(one.request), checker.is_right(one.value, job.item)) for one in answer.candidates
        ],
        "cost": plain_ledger(account(job.watched.taken, followed)),
    }
    return {**line, "error": str(outcome)} if isinstance(outcome, LiteError) else line


def _candidate(candidate: Candidate, key: str, right: bool) -> Plain:
    score = candidate.score
    return {
        "branch": key,
        "value": candidate.value,
        "right": right,
        "score": score if score is not None and isfinite(score) else None,
        "votes": candidate.votes,
        "tokens": candidate.tokens,
        "reason": candidate.reason,
    }


def _checked(outcome: Outcome) -> Outcome:
    if isinstance(outcome, BackendError):
        raise outcome
    return outcome


def _plain_prompt(question: Question) -> object:
    (plain,) = Encoder().commands([Request(question.prompt)])
    return plain["prompt"]


def _most_top(jobs: Sequence[Job], samplers: Mapping[str, Sampler]) -> int:
    """The most top_logprobs that a strategy asks for at first, so that all can share the samples."""
    most = 0
    traits = {name: sampler.traits for name, sampler in samplers.items()}
    for job in {job.entry.label: job for job in jobs}.values():
        flow = job.entry.strategy(replace(job.question, models=traits))
        with closing(flow), suppress(LiteError, StopIteration):
            commands = next(flow)
            most = max([most, *(c.params.top_logprobs for c in commands if isinstance(c, Request))])
    return most

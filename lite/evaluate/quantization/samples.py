"""What the models answer: N samples a question with the same random bits, and how they vote.

The draw is a race keyed by (seed, sample, position, token), so two models with nearly the same weights draw nearly
the same samples, and a question's two votes are paired.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from lite.answers import equivalent
from lite.engine import Engine
from lite.errors import LiteError
from lite.evaluate.checking import Checker
from lite.evaluate.items import Item
from lite.evaluate.parts import Parts
from lite.evaluate.quantization.documents import Document
from lite.params import Chat, SamplingParams
from lite.runner import drive
from lite.sampler import Flow, Question
from lite.strategies.branches import draw, requests_of
from lite.strategies.select.majority import majority
from lite.strategies.select.self_certainty import borda, power_for
from lite.strategies.verdict import Ballot, picked, read

__all__ = ["RULES", "Asked", "Drawn", "Rule", "Vote", "certainties", "draw_samples", "sample_documents"]

Rule: TypeAlias = Literal["majority", "self-certainty"]
RULES: tuple[Rule, ...] = ("majority", "self-certainty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The questions, and how they are asked."""

    items: tuple[Item, ...]
    samples: int  # a question
    params: SamplingParams
    think: bool | None  # None: the template's own default

    def question(self, item: Item) -> Question:
        """The item as every model is asked it."""
        return Question(prompt=Chat.ask(item.asked, thinking=self.think), choices=item.choices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A model's samples, question by question."""

    ballots: tuple[Ballot, ...]
    right: tuple[tuple[bool, ...], ...]  # each sample

    def vote(self, question: int, rule: Rule, scores: Sequence[float]) -> "Vote":
        """How a question is settled by its samples, with a score for each."""
        ballot = self.ballots[question]
        if rule == "majority":
            election = majority(ballot.answers)
        else:
            election = borda(scores, ballot.answers, power_for(len(scores)))
        winner = election.winner
        return Vote(ballot.values[winner], self.right[question][winner], election.share or 0.0)


@dataclass(frozen=True, slots=True)
class Vote:
    """How a question was settled."""

    value: str | None
    right: bool
    share: float  # of the votes, in [0, 1]; 0 where nobody voted

    def differs(self, other: "Vote") -> bool:
        """Whether the answer is another one."""
        if self.value is None or other.value is None:
            return self.value is not other.value
        return not equivalent(self.value, other.value)


@dataclass(slots=True, eq=False)
class _Keeping:
    """A strategy that keeps its question's samples."""

    samples: int
    params: SamplingParams
    ballot: Ballot | None = None
    needs: dict[str, frozenset[Literal["certainty"]]] = field(
        default_factory=lambda: {"local": frozenset(("certainty",))}
    )

    def __call__(self, question: Question) -> Flow:
        requests = requests_of(question, samples=self.samples, params=self.params, sampler="local")
        self.ballot = read(question, (yield from draw(requests)))
        return picked(self.ballot, certainties(self.ballot))


def draw_samples(parts: Parts, asked: Asked, checker: Checker) -> Generator[int, None, Drawn]:
    """Draw every question's samples. Yields how many questions are done; raises what the engine raises."""
    strategies = [_Keeping(asked.samples, asked.params) for _ in asked.items]
    engine = Engine(parts.backend, parts.codec)
    at_once = -(-parts.backend.spec.num_slots // asked.samples) + 1  # so that no slot is free while others end
    ticks = drive(strategies, map(asked.question, asked.items), {"local": engine}, concurrency=at_once)
    done = 0
    with closing(ticks):
        for tick in ticks:
            for outcome in tick.outcomes.values():
                if isinstance(outcome, LiteError):
                    raise outcome
            done += len(tick.outcomes)
            yield done
    ballots = tuple(one.ballot for one in strategies if one.ballot is not None)
    right = (
        tuple(checker.is_right(value, item) for value in ballot.values)
        for ballot, item in zip(ballots, asked.items, strict=True)
    )
    return Drawn(ballots=ballots, right=tuple(right))


def sample_documents(drawn: Drawn, parts: Parts) -> list[Document]:
    """Every sample as it was drawn, after its question; those of one question are one cluster."""
    return [
        Document(tuple(parts.codec.encode_prompt(ballot.question.prompt)), tuple(branch.ids), cluster)
        for cluster, ballot in enumerate(drawn.ballots)
        for branch in ballot.branches
    ]


def certainties(ballot: Ballot) -> list[float]:
    """Each sample's mean certainty as it was drawn, in nats."""
    return [branch.mean_certainty or 0.0 for branch in ballot.branches]

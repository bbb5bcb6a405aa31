"""From drawn branches to an Answer: read the values, count the votes, name the winner.

Everything here is settled by the branches alone. Ties go to the earliest: among answers to the one that was given
first, among samples to the lowest number. A branch that was cut short votes like any other if its answer can be read.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from lite.answers import group, stated, value_of
from lite.params import Chat, Prompt
from lite.sampler import Answer, Candidate, Question, Traits
from lite.strategies.branches import Branch

__all__ = ["Ballot", "Election", "answer_text", "elect", "highest", "picked", "rank_value", "read", "value_in", "voted"]

_DECIMALS = 4  # of scores that are ranked; in float32 two engines differ by less


@dataclass(frozen=True, slots=True)
class Election:
    """The outcome of a vote over answers, one a sample."""

    winner: int  # the first sample with the winning answer; 0 where nobody voted
    votes: tuple[float, ...]  # what each sample gave to its answer
    totals: dict[int, float]  # by the first sample with that answer, in the order in which the answers appeared

    @property
    def total(self) -> float:
        """The winning answer's votes."""
        return self.totals.get(self.winner, 0.0)

    @property
    def share(self) -> float | None:
        """The winning answer's part of all votes, in [0, 1]; None where nobody voted."""
        cast = math.fsum(self.totals.values())
        return min(self.total / cast, 1.0) if cast > 0 else None


@dataclass(frozen=True, slots=True)
class Ballot:
    """What the samples say, in their order: values, and classes of equal values named by their first member."""

    question: Question
    branches: Sequence[Branch]
    values: Sequence[str | None]
    answers: Sequence[int | None]  # the classes; None casts no vote


def elect(answers: Sequence[Hashable | None], votes: Sequence[float]) -> Election:
    """The answer with the most votes; equal answers are equal objects, None has no vote. Ties to the earliest."""
    cast = tuple(0.0 if answer is None else vote for answer, vote in zip(answers, votes, strict=True))
    first: dict[Hashable, int] = {}
    members: dict[int, list[float]] = {}
    for i, (answer, vote) in enumerate(zip(answers, cast, strict=True)):
        if answer is not None:
            members.setdefault(first.setdefault(answer, i), []).append(vote)
    totals = {start: math.fsum(given) for start, given in members.items()}
    return Election(max(totals, key=totals.__getitem__, default=0), cast, totals)


def highest(scores: Sequence[float | None], among: Sequence[int]) -> int:
    """The index with the highest score; one without a score comes last. Ties to the earliest, see `rank_value`."""
    return max(among, key=lambda i: (rank_value(scores[i]), -i))


def rank_value(score: float | None) -> float:
    """What a score is ranked by: rounded, so that equal completions are a tie on every engine; None comes last."""
    return -math.inf if score is None else round(score, _DECIMALS)


def read(question: Question, branches: Sequence[Branch]) -> Ballot:
    """Each branch's value, and which of them are the same answer."""
    values = [value_in(question, branch) for branch in branches]
    return Ballot(question, branches, values, group(values, question.equivalent))


def voted(ballot: Ballot, election: Election, scores: Sequence[float | None]) -> Answer:
    """The winning answer in the words of its best-scored sample, with its share of the votes as confidence.

    Where nobody voted, the best-scored sample of those with a value, else of all, without a confidence.
    """
    if election.share is None:
        return picked(ballot, scores)
    members = [i for i, answer in enumerate(ballot.answers) if answer == ballot.answers[election.winner]]
    return _answer(ballot, highest(scores, members), scores, election.votes, election.share)


def picked(ballot: Ballot, scores: Sequence[float | None]) -> Answer:
    """The best-scored sample of those with a value, else of all. Nobody votes, so there is no confidence."""
    readable = [i for i, value in enumerate(ballot.values) if value is not None]
    winner = highest(scores, readable or range(len(scores)))
    return _answer(ballot, winner, scores, [0.0] * len(scores), None)


def answer_text(question: Question, branch: Branch) -> str:
    """What the branch says after its thought; all of it where no thought was closed."""
    close = _traits(question, branch).think_close
    return (branch.text.rpartition(close)[2] if close else branch.text).strip()


def value_in(question: Question, branch: Branch) -> str | None:
    """The branch's answer. A thought that was cut short counts only for what it states as its answer."""
    text = answer_text(question, branch)
    if question.extract is None and _is_cut_in_thought(question, branch):
        return stated(text, question.choices)
    return value_of(question, text)


def _is_cut_in_thought(question: Question, branch: Branch) -> bool:
    traits = _traits(question, branch)
    if not traits.think_close or traits.think_close in branch.text:
        return False
    has_opened = traits.think_open != "" and traits.think_open in branch.text
    return has_opened or (branch.reason not in ("eos", "stop") and _began_in_thought(branch.request.prompt, traits))


def _began_in_thought(prompt: Prompt, traits: Traits) -> bool:
    """Where nobody knows whether the prompt has opened a thought, one that was asked for counts."""
    if not isinstance(prompt, Chat) or prompt.thinking is False:
        return False
    return prompt.thinking is True if traits.think_opened is None else traits.think_opened


def _traits(question: Question, branch: Branch) -> Traits:
    return question.models.get(branch.request.sampler, Traits())


def _answer(
    ballot: Ballot,
    winner: int,
    scores: Sequence[float | None],
    votes: Sequence[float],
    confidence: float | None,
) -> Answer:
    candidates = tuple(
        Candidate(
            request=branch.request,
            text=branch.text,
            value=value,
            score=score,
            votes=vote,
            tokens=branch.tokens,
            reason=branch.reason,
        )
        for branch, value, score, vote in zip(ballot.branches, ballot.values, scores, votes, strict=True)
    )
    text = answer_text(ballot.question, ballot.branches[winner])
    return Answer(text=text, value=ballot.values[winner], confidence=confidence, candidates=candidates)

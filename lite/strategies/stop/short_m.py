"""short-m@k: of k thoughts drawn together, the m that end first answer and vote (arXiv:2505.17813)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import ClassVar

from lite.params import SamplingParams
from lite.sampler import Ability, Flow, Question
from lite.strategies.branches import Branch, requests_of
from lite.strategies.fields import check_samples, setting
from lite.strategies.select.majority import majority
from lite.strategies.stop.cuts import read_some
from lite.strategies.stop.race import race
from lite.strategies.stop.thought import in_thought, traits_of
from lite.strategies.verdict import elect, voted

__all__ = ["ShortM", "thought_end"]


def thought_end(question: Question, branch: Branch) -> int | None:
    """The position at which a branch's thought has ended, or the branch itself where it does not think.

    None while that is not known, and for a branch that was cut short in its thought.
    """
    close = traits_of(question, branch.request).think_close
    if close and close in branch.text:
        end = branch.text.index(close) + len(close)
        return next(i for i, length in enumerate(accumulate(map(len, branch.texts)), start=1) if length >= end)
    if not branch.finished:
        return None
    is_cut = branch.reason not in ("eos", "stop") and in_thought(question, branch.request, branch.text)
    return None if is_cut else branch.tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortM:
    """A majority vote of the m samples that have thought the shortest; the others are stopped.

    Equal votes go to the answer that was reached by the shortest thought. The score is minus the length of the
    thought in tokens, of a model that does not think minus that of the whole completion; a stopped sample has none.
    """

    paper: ClassVar[str] = "arXiv:2505.17813"
    cost: ClassVar[str] = "N samples, each as long as the m-th shortest"
    samples: int = setting(8, "the paper's k: completions to begin")
    voters: int = setting(3, "the paper's m: so many may end their thought, answer and vote")
    params: SamplingParams = field(default_factory=SamplingParams)
    sampler: str = setting("local", "which sampler draws")

    def __post_init__(self) -> None:
        check_samples(self.samples)
        if self.voters < 1:
            raise ValueError(f"voters must be at least 1, got {self.voters}")

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return {self.sampler: frozenset()}

    def __call__(self, question: Question) -> Flow:
        lengths: dict[int, int] = {}

        def enough(branches: Sequence[Branch], crossed: Sequence[int], at: int) -> bool:
            lengths[crossed[-1]] = at
            return len(crossed) >= self.voters

        requests = requests_of(question, samples=self.samples, params=self.params, sampler=self.sampler)
        branches, crossed = yield from race(requests, enough, line=lambda branch: thought_end(question, branch))
        ballot = read_some(question, branches, crossed)
        scores = [-float(lengths[i]) if i in lengths else None for i in range(self.samples)]
        by_length = elect([ballot.answers[i] for i in crossed], [1.0] * len(crossed))
        election = majority(ballot.answers)
        if by_length.total:
            shortest = ballot.answers[crossed[by_length.winner]]
            election = replace(election, winner=ballot.answers.index(shortest))
        return voted(ballot, election, scores)

"""Vote-aware stopping: draw no more once the vote is decided.

Samples are drawn together. As they end, in the order of their tokens, the leading answer is compared with the worst
that the samples still open could do to it, each with the most that it could still weigh; when the leader cannot be
overtaken the rest is stopped. With `error` 0 the answer is the one that the whole vote would have given.

A majority vote begins its samples in waves, each of as few as could settle it: were they all for the leader, no more
would be needed. With `error` above 0 the rest is given up after a whole wave when the leader is overtaken with at most
that probability. After votes of a for the leader and b for another, the m samples to come are taken to be the leader's
or the other's with a probability from Beta(a + 1, b + 1), so the other's are Beta-binomial; the chances of all others,
and of an answer not yet seen, are added. Being a posterior probability it may be looked at after every wave. It is
tested where all that were begun have ended, because those that end first are no fair sample. The same test, of one
sample at a time and two answers, is the idea of arXiv:2305.11860.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from lite.params import SamplingParams
from lite.sampler import Ability, Flow, Question, Request
from lite.strategies.branches import Branch, requests_of
from lite.strategies.fields import check_samples, setting
from lite.strategies.select.majority import majority
from lite.strategies.select.perplexity import inner_probability, perplexity_consistency
from lite.strategies.select.self_certainty import borda, power_for
from lite.strategies.stop.beta import overtaking_probability
from lite.strategies.stop.bounds import is_safe, is_safe_borda
from lite.strategies.stop.cuts import read_some
from lite.strategies.stop.race import race
from lite.strategies.verdict import Ballot, Election, voted

__all__ = ["VoteAware"]

_NEEDS: Mapping[str, frozenset[Ability]] = {
    "majority": frozenset(),
    "borda": frozenset({"certainty"}),
    "probability": frozenset({"logprobs"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteAware:
    """A vote that stops as soon as its winner is certain, or as good as certain.

    The votes are those of majority, self-certainty (borda) and perplexity (probability: 1 / perplexity, distinct
    completions). The confidence is the winner's share of the votes that were cast; a stopped sample casts none.
    """

    paper: ClassVar[str] = ""
    cost: ClassVar[str] = "up to N samples, cut short where the vote is settled"
    samples: int = setting(16, "completions to draw at most")
    params: SamplingParams = field(default_factory=SamplingParams)
    sampler: str = setting("local", "which sampler draws")
    vote: Literal["majority", "borda", "probability"] = setting("majority", "how the samples vote")
    power: float | None = setting(None, "the exponent of borda; auto: 0.3, 0.7 or 1.2 by N")
    error: float = setting(0.0, "the probability of another winner that is accepted; 0: none")
    wave: int | None = setting(
        None, "samples to begin at a time; auto: with majority as few as could settle it, else all"
    )

    def __post_init__(self) -> None:
        check_samples(self.samples)
        if self.power is not None and not 0 <= self.power < math.inf:
            raise ValueError(f"power must be 0 (the majority vote) or above, got {self.power}")
        if not 0 <= self.error < 1:
            raise ValueError(f"error must be in [0, 1), got {self.error}")
        if self.error and self.vote != "majority":
            raise ValueError(f"error must be 0 with a vote by {self.vote}: the test counts equal votes")
        if self.wave is not None and self.wave < 1:
            raise ValueError(f"wave must be at least 1, got {self.wave}")

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return {self.sampler: _NEEDS[self.vote]}

    def __call__(self, question: Question) -> Flow:
        requests = requests_of(question, samples=self.samples, params=self.params, sampler=self.sampler)
        drawn: list[Branch] = []
        voting: list[int] = []

        def enough(branches: Sequence[Branch], crossed: Sequence[int], at: int) -> bool:
            ended = [*voting, *(len(drawn) + i for i in crossed)]
            return self._is_decided(question, [*drawn, *branches], ended, requests, at)

        while size := self._next_wave(question, drawn, voting):
            branches, crossed = yield from race(requests[len(drawn) : len(drawn) + size], enough)
            voting += (len(drawn) + i for i in crossed)
            drawn += branches
            if len(crossed) < len(branches) or self._is_decided(question, drawn, voting, requests, 0):
                break
        ballot = read_some(question, drawn, voting)
        return voted(ballot, self._election(ballot, voting), self._scores(ballot, voting))

    def _next_wave(self, question: Question, drawn: Sequence[Branch], voting: Sequence[int]) -> int:
        """How many samples to begin next; 0 where none is left or needed."""
        left = self.samples - len(drawn)
        if self.vote != "majority":
            return min(left, self.wave or left)
        election = majority(read_some(question, drawn, voting).answers)
        if not left or self._is_likely(election, 0, left):
            return 0
        return self.wave or next((n for n in range(1, left) if self._is_likely(election, n, left - n)), left)

    def _is_likely(self, election: Election, more: int, remaining: int) -> bool:
        """Whether the leader, given so many votes more, stays the leader but for the accepted error."""
        leader = election.total + more
        rivals = [(total, first) for first, total in election.totals.items() if first != election.winner]
        if not leader:
            return False
        chances = (
            overtaking_probability(round(leader), round(total), remaining, wins_ties=first < election.winner)
            for total, first in (*rivals, (0, self.samples))
        )
        return math.fsum(chances) <= self.error

    def _is_decided(
        self, question: Question, drawn: Sequence[Branch], voting: Sequence[int], requests: Sequence[Request], at: int
    ) -> bool:
        """Whether no outcome of the samples that have not ended by position `at` changes the winner."""
        unbegun = [Branch(request) for request in requests[len(drawn) :]]
        ballot = read_some(question, [*drawn, *unbegun], voting)
        election = self._election(ballot, voting)
        weights = {i: self._most(b, at) for i, b in enumerate(ballot.branches) if i not in set(voting)}
        if self.vote == "borda":
            confidences = _certainties(ballot.branches)
            return is_safe_borda(election, weights, ballot.answers, confidences, self._power)
        return is_safe(election, weights, ballot.answers)

    def _most(self, branch: Branch, at: int) -> float:
        """The most that an open sample can weigh: by probability, if all tokens to come were certain."""
        if self.vote != "probability":
            return 1.0
        return math.exp(math.fsum(branch.logprobs[:at]) / branch.request.params.max_tokens)

    @property
    def _power(self) -> float:
        return power_for(self.samples) if self.power is None else self.power

    def _election(self, ballot: Ballot, voting: Sequence[int]) -> Election:
        """Of those that have ended, and for borda over the ranks of all N, those that have not coming last."""
        if self.vote == "majority":
            return majority(ballot.answers)
        if self.vote == "probability":
            weights = [score or 0.0 for score in self._scores(ballot, voting)]
            return perplexity_consistency(weights, ballot.answers, [branch.text for branch in ballot.branches])
        absent = self.samples - len(ballot.branches)
        ended = set(voting)
        known = [c if i in ended else -math.inf for i, c in enumerate(_certainties(ballot.branches))]
        election = borda([*known, *[-math.inf] * absent], [*ballot.answers, *[None] * absent], self._power)
        return replace(election, votes=election.votes[: len(known)])

    def _scores(self, ballot: Ballot, voting: Sequence[int]) -> list[float | None]:
        """As the vote's own strategy scores; None for a stopped sample."""
        if self.vote == "majority":
            return [None] * len(ballot.branches)
        score = inner_probability if self.vote == "probability" else (lambda branch: branch.mean_certainty)
        ended = set(voting)
        return [score(branch) if i in ended else None for i, branch in enumerate(ballot.branches)]


def _certainties(branches: Sequence[Branch]) -> list[float]:
    means = (branch.mean_certainty for branch in branches)
    return [-math.inf if mean is None else mean for mean in means]

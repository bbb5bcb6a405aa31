"""Confident sampling: draw answers until one, or a vote of them, is sure enough (arXiv:2503.00031).

A completion's confidence is P(Yes) after it is asked whether it is correct, here the probability of "Yes" against that
of "No", both scored as forced text in forks of the completion. The paper trains the model so that this probability is
calibrated; of any other the threshold has to be found on examples. The geometric mean of the completion's own token
probabilities may stand in for it, and costs nothing.

The rules are the paper's early-stopping Best-of-N (stop at the first confident sample) and its adaptive
self-consistency with confidence (stop when the leader has enough of the summed confidence). Where no sample is
confident the best one is taken; the authors' code takes the last.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from lite.params import SamplingParams
from lite.sampler import Ability, Chunk, Command, Event, Finished, Flow, Question, Request
from lite.strategies.branches import Branch, draw, requests_of
from lite.strategies.fields import check_samples, setting
from lite.strategies.select.perplexity import inner_probability
from lite.strategies.stop.thought import thought_closing
from lite.strategies.verdict import elect, picked, read, voted

__all__ = ["ConfidenceSampling"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfidenceSampling:
    """Samples until one of them, or their weighted vote, is confident. The score is a sample's confidence."""

    paper: ClassVar[str] = "arXiv:2503.00031"
    cost: ClassVar[str] = "up to N samples, in waves, and 2 scored words each"
    samples: int = setting(16, "completions to draw at most")
    params: SamplingParams = field(default_factory=SamplingParams)
    sampler: str = setting("local", "which sampler draws")
    rule: Literal["argmax", "vote"] = setting("argmax", "one confident sample is enough, or a vote by confidence")
    measure: Literal["yes", "probability"] = setting("yes", "P(Yes) when asked, or the mean probability of its tokens")
    threshold: float = setting(0.8, "the confidence, or the leader's share of it, that is enough")
    wave: int = setting(4, "samples to draw at a time; it is looked at after each wave")
    cue: str = setting("Is this answer correct? Answer Yes or No:", "how a sample is asked")
    yes: str = setting(" Yes", "the answer that speaks for it")
    no: str = setting(" No", "the answer that speaks against it")

    def __post_init__(self) -> None:
        check_samples(self.samples)
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be in [0, 1], got {self.threshold}")
        if self.wave < 1:
            raise ValueError(f"wave must be at least 1, got {self.wave}")
        if not self.yes or not self.no or self.yes == self.no:
            raise ValueError(f"yes and no must be two different texts, got {self.yes!r} and {self.no!r}")

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        asked: frozenset[Ability] = frozenset({"logprobs", "prefix", "fork", "score"})
        return {self.sampler: asked if self.measure == "yes" else frozenset({"logprobs"})}

    @property
    def at_once(self) -> int:
        """Branches that want to be live together."""
        return 2 * min(self.wave, self.samples)

    def __call__(self, question: Question) -> Flow:
        requests = requests_of(question, samples=self.samples, params=self.params, sampler=self.sampler)
        branches: tuple[Branch, ...] = ()
        scores: list[float | None] = []
        while len(branches) < self.samples:
            new = yield from draw(requests[len(branches) : len(branches) + self.wave])
            scores += (yield from self._asked(question, new)) if self.measure == "yes" else map(inner_probability, new)
            branches += new
            ballot = read(question, branches)
            election = elect(ballot.answers, [score or 0.0 for score in scores])
            confident = [i for i, s in enumerate(scores) if s and s >= self.threshold and ballot.values[i] is not None]
            several = sum(value is not None for value in ballot.values) > 1
            if confident if self.rule == "argmax" else several and (election.share or 0.0) >= self.threshold:
                break
        return picked(ballot, scores) if self.rule == "argmax" else voted(ballot, election, scores)

    def _asked(
        self, question: Question, branches: Sequence[Branch]
    ) -> Generator[Sequence[Command], Sequence[Event], list[float | None]]:
        """P(Yes) of each branch; None where it could not be asked."""
        pairs = [[self._verdict(question, branch, word) for word in (self.yes, self.no)] for branch in branches]
        likelihoods = yield from _score([request for pair in pairs for request in pair])
        return [_share(likelihoods.get(yes), likelihoods.get(no)) for yes, no in pairs]

    def _verdict(self, question: Question, branch: Branch, word: str) -> Request:
        request = branch.request
        closing = thought_closing(question, request, branch.text) or "\n\n"
        prefix = closing + self.cue + word
        at = branch.tokens - (branch.reason == "eos")  # what follows the end of the turn has no meaning
        params = replace(request.params, temperature=0.0, max_tokens=1)
        return Request(
            request.prompt, params, prefix=prefix, parent=request, at=at, sampler=request.sampler, score=True
        )


def _score(requests: Sequence[Request]) -> Generator[Sequence[Command], Sequence[Event], dict[Request, float]]:
    """The log-probability of each request's prefix; the sums have the common text in common."""
    totals: dict[Request, list[float]] = {}
    waiting = set(requests)
    commands: Sequence[Command] = requests
    while waiting:
        events = yield commands
        commands = ()
        for event in events:
            if isinstance(event, Finished):
                waiting.discard(event.request)
            elif isinstance(event, Chunk) and event.start < 0:
                totals.setdefault(event.request, []).extend(event.logprobs[: -event.start])
    return {request: math.fsum(values) for request, values in totals.items()}


def _share(yes: float | None, no: float | None) -> float | None:
    """p(yes) / (p(yes) + p(no)), of log-probabilities."""
    if yes is None or no is None:
        return None
    most = max(yes, no)
    weights = math.exp(yes - most), math.exp(no - most)
    return weights[0] / sum(weights)

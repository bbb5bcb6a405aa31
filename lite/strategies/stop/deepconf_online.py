"""DeepConf online: stop a trace where its confidence breaks down, and all of them on consensus (arXiv:2508.15260).

A few warm-up traces are drawn whole. The bar is the lowest group confidence that the most confident `keep` of them
reach (0.9 is the paper's DeepConf-high, 0.1 its low). Every other trace is stopped where the confidence of its last
window of tokens falls under the bar, and does not vote. As soon as the leading answer has the consensus share of
the votes, each weighing its trace's lowest group confidence, the rest is stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from lite.params import SamplingParams
from lite.sampler import Ability, Flow, Question, Request
from lite.strategies.branches import Branch, draw, requests_of
from lite.strategies.fields import check_samples, setting
from lite.strategies.stop.cuts import read_some
from lite.strategies.stop.deepconf import (
    bottom_confidence,
    check_confidence,
    confidence_bar,
    group_confidences,
    token_confidence,
    token_confidences,
    window_for,
)
from lite.strategies.stop.race import race
from lite.strategies.verdict import Ballot, Election, elect, voted

__all__ = ["DeepConfOnline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepConfOnline:
    """A vote by confidence of traces that are stopped when their confidence breaks down.

    The score is the lowest group confidence, of a stopped trace that of what was drawn.
    """

    paper: ClassVar[str] = "arXiv:2508.15260"
    cost: ClassVar[str] = "a warm-up of whole samples, then N less those that are stopped"
    samples: int = setting(16, "traces to draw at most, the warm-up among them")
    warmup: int = setting(4, "traces that are drawn whole to set the bar; the paper takes 16 of 512")
    params: SamplingParams = field(default_factory=SamplingParams)
    sampler: str = setting("local", "which sampler draws")
    keep: float = setting(0.9, "the part of the warm-up that reaches the bar; the paper takes 0.1 and 0.9")
    consensus: float = setting(0.95, "the leader's share of the votes at which the rest is stopped; 1: all agree")
    window: int | None = setting(None, "tokens of a group; auto: an eighth of the warm-up's median length")
    top: int = setting(20, "the paper's k: how many of the likeliest tokens a token's confidence is read from")

    def __post_init__(self) -> None:
        check_samples(self.samples)
        check_confidence(self.keep, self.window, self.top)
        if self.warmup < 1:
            raise ValueError(f"warmup must be at least 1, got {self.warmup}")
        if not 0 < self.consensus <= 1:
            raise ValueError(f"consensus must be in (0, 1], got {self.consensus}")

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return {self.sampler: frozenset({"top"})}

    def __call__(self, question: Question) -> Flow:
        params = replace(self.params, top_logprobs=self.top)
        requests = requests_of(question, samples=self.samples, params=params, sampler=self.sampler)
        warm = yield from draw(requests[: self.warmup])
        window = self.window or window_for(warm)
        lowest = [_lowest(branch, window) for branch in warm]
        bar = confidence_bar(lowest, self.keep)
        voting = [i for i, confidence in enumerate(lowest) if confidence >= bar]

        def agreed(branches: Sequence[Branch]) -> bool:
            return (_election(read_some(question, branches, voting), window).share or 0.0) >= self.consensus

        def enough(branches: Sequence[Branch], crossed: Sequence[int], at: int) -> bool:
            if branches[crossed[-1]].tokens > at:  # it was stopped there
                return False
            voting.append(len(warm) + crossed[-1])
            return agreed([*warm, *branches])

        if len(warm) < self.samples and not agreed(warm):
            late, _ = yield from race(requests[len(warm) :], enough, cut_off=_Breakdown(bar, window))
            warm += late
        ballot = read_some(question, warm, voting)
        return voted(ballot, _election(ballot, window), [_lowest(branch, window) for branch in warm])


class _Breakdown:
    """Where a branch's last window of tokens first has a confidence under the bar."""

    def __init__(self, bar: float, window: int) -> None:
        self._bar = bar
        self._window = window
        self._confidences: dict[Request, list[float]] = {}
        self._found: dict[Request, int] = {}

    def __call__(self, branch: Branch) -> int | None:
        known = self._confidences.setdefault(branch.request, [])
        for top in branch.top[len(known) :]:
            known.append(token_confidence([logprob for _, logprob in top]))
            is_under = len(known) >= self._window and sum(known[-self._window :]) / self._window < self._bar
            if is_under:
                self._found.setdefault(branch.request, len(known))
        return self._found.get(branch.request)


def _lowest(branch: Branch, window: int) -> float:
    return bottom_confidence(group_confidences(token_confidences(branch), window), 0.0)


def _election(ballot: Ballot, window: int) -> Election:
    """Each voter weighs its lowest group confidence; the others have no answer here."""
    return elect(ballot.answers, [_lowest(branch, window) for branch in ballot.branches])

"""DeepConf: keep the traces whose confidence never broke down, and let them vote by it (arXiv:2508.15260).

A token's confidence is minus the mean log-probability of the k likeliest tokens (eq. 2): high where the distribution
is peaked. A group's is the mean over a sliding window of tokens (eq. 4). A trace is judged by its mean, its tail, its
lowest group, or the mean of its lowest tenth of groups. The scale is not that of self-certainty, which looks at the
whole vocabulary: the two are never mixed.

The paper's windows of 2048 tokens are for traces ten times as long. The default is an eighth of the median length.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import ClassVar, Literal

from lite.params import SamplingParams
from lite.sampler import Ability, Flow, Question
from lite.strategies.branches import Branch, draw, requests_of
from lite.strategies.fields import check_samples, setting
from lite.strategies.verdict import elect, read, voted

__all__ = [
    "DeepConf",
    "bottom_confidence",
    "check_confidence",
    "confidence_bar",
    "group_confidences",
    "token_confidence",
    "token_confidences",
    "window_for",
]

_LEAST_WINDOW = 4


def token_confidence(top_logprobs: Sequence[float]) -> float:
    """Eq. 2: minus the mean log-probability of the likeliest tokens."""
    return -math.fsum(top_logprobs) / len(top_logprobs)


def token_confidences(branch: Branch) -> list[float]:
    """One for each drawn token; none where the sampler reported no likeliest tokens."""
    return [token_confidence([logprob for _, logprob in top]) for top in branch.top if top]


def group_confidences(confidences: Sequence[float], window: int) -> list[float]:
    """Eq. 4: the means of all windows of that many tokens; of a shorter trace the mean of what it has."""
    starts = range(max(1, len(confidences) - window + 1))
    groups = [confidences[start : start + window] for start in starts]
    return [math.fsum(group) / len(group) for group in groups if group]


def bottom_confidence(groups: Sequence[float], part: float) -> float:
    """Eq. 5: the mean of that part of the groups that is lowest, at least one. 0 where there is none."""
    lowest = sorted(groups)[: max(1, int(len(groups) * part))]
    return math.fsum(lowest) / len(lowest) if lowest else 0.0


def confidence_bar(confidences: Sequence[float], keep: float) -> float:
    """The confidence that the most confident `keep` of the traces reach: a percentile, linear between two traces."""
    ordered = sorted(confidences)
    place = (1 - keep) * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def window_for(branches: Sequence[Branch]) -> int:
    """An eighth of the median length in tokens."""
    return max(_LEAST_WINDOW, round(median(branch.tokens for branch in branches) / 8))


def check_confidence(keep: float, window: int | None, top: int) -> None:
    """Raises ValueError for what no trace can be judged by."""
    if not 0 < keep <= 1:
        raise ValueError(f"keep must be in (0, 1], got {keep}")
    if window is not None and window < 1:
        raise ValueError(f"window must be at least 1, got {window}")
    if not 1 <= top <= 64:
        raise ValueError(f"top must be in [1, 64], got {top}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepConf:
    """A vote by confidence of the most confident of N whole traces (the paper's offline mode).

    The score is the trace's confidence by the chosen measure. Traces without an answer are not counted among those
    of which a part is kept.
    """

    paper: ClassVar[str] = "arXiv:2508.15260"
    cost: ClassVar[str] = "N samples"
    samples: int = setting(16, "traces to draw")
    params: SamplingParams = field(default_factory=SamplingParams)
    sampler: str = setting("local", "which sampler draws")
    measure: Literal["mean", "tail", "lowest", "bottom"] = setting(
        "bottom", "of a trace's confidences: all tokens, the last window, the lowest group, the lowest tenth of groups"
    )
    keep: float = setting(0.9, "the part of the traces that votes, the most confident; the paper takes 0.1 and 0.9")
    window: int | None = setting(None, "tokens of a group and of the tail; auto: an eighth of the median length")
    top: int = setting(20, "the paper's k: how many of the likeliest tokens a token's confidence is read from")

    def __post_init__(self) -> None:
        check_samples(self.samples)
        check_confidence(self.keep, self.window, self.top)

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return {self.sampler: frozenset({"top"})}

    def __call__(self, question: Question) -> Flow:
        params = replace(self.params, top_logprobs=self.top)
        branches = yield from draw(requests_of(question, samples=self.samples, params=params, sampler=self.sampler))
        window = self.window or window_for(branches)
        scores = [self._confidence(branch, window) for branch in branches]
        ballot = read(question, branches)
        answering = [s for s, answer in zip(scores, ballot.answers, strict=True) if answer is not None]
        bar = confidence_bar(answering or scores, self.keep)
        return voted(ballot, elect(ballot.answers, [s if s >= bar else 0.0 for s in scores]), scores)

    def _confidence(self, branch: Branch, window: int) -> float:
        confidences = token_confidences(branch)
        if self.measure in ("mean", "tail"):
            last = confidences[-window:] if self.measure == "tail" else confidences
            return math.fsum(last) / len(last) if last else 0.0
        return bottom_confidence(group_confidences(confidences, window), 0.1 if self.measure == "bottom" else 0.0)

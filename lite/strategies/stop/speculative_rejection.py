"""Speculative rejection: Best-of-N that drops the least promising samples while they are drawn (arXiv:2410.20290).

At each checkpoint the partial completions are scored and the best (1 - alpha) of them go on; those that have ended
compete too. The best at the end is the answer.

The paper scores with a reward model each time that the memory is full. Without either, the score is the model's own
over the tokens so far, and the checkpoints are at a number of tokens, each twice as far as the one before.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from lite.params import SamplingParams
from lite.sampler import Ability, Cancel, Command, Flow, Question
from lite.strategies.branches import Branch, requests_of
from lite.strategies.fields import check_samples, setting
from lite.strategies.stop.cuts import cut, read_some
from lite.strategies.stop.scores import ability_of, score_of
from lite.strategies.verdict import picked, rank_value

__all__ = ["SpeculativeRejection", "survivors"]


def survivors(scores: Mapping[int, float | None], alpha: float) -> list[int]:
    """The best-scored, (1 - alpha) of them rounded and at least one, in their order. Ties to the lower number."""
    keep = max(1, math.floor((1 - alpha) * len(scores) + 0.5))
    best = sorted(scores, key=lambda i: (rank_value(scores[i]), -i), reverse=True)
    return sorted(best[:keep])


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeculativeRejection:
    """The best of N samples, of which the less promising are given up on the way. A rejected sample has no score."""

    paper: ClassVar[str] = "arXiv:2410.20290"
    cost: ClassVar[str] = "N samples, most of them cut short"
    samples: int = setting(16, "completions to begin")
    params: SamplingParams = field(default_factory=SamplingParams)
    sampler: str = setting("local", "which sampler draws")
    measure: Literal["certainty", "logprob"] = setting("certainty", "the score: the mean of it so far")
    alpha: float = setting(0.5, "the part of the samples that is rejected at each checkpoint")
    first: int = setting(32, "tokens to the first checkpoint; each next is twice as far")

    def __post_init__(self) -> None:
        check_samples(self.samples)
        if not 0 <= self.alpha < 1:
            raise ValueError(f"alpha must be in [0, 1), got {self.alpha}")
        if self.first < 1:
            raise ValueError(f"first must be at least 1, got {self.first}")

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return {self.sampler: frozenset({ability_of(self.measure)})}

    def __call__(self, question: Question) -> Flow:
        requests = requests_of(question, samples=self.samples, params=self.params, sampler=self.sampler)
        branches = [Branch(request) for request in requests]
        numbers = {request: i for i, request in enumerate(requests)}
        alive, checkpoint = [*range(self.samples)], self.first
        commands: Sequence[Command] = requests
        while commands or any(branches[i].finished is None for i in alive):
            events = yield commands
            for event in events:
                if numbers[event.request] in alive:
                    branches[numbers[event.request]].add(event)
            commands = []
            while self._is_due(branches, alive, checkpoint):
                kept = survivors({i: score_of(branches[i], self.measure, checkpoint) for i in alive}, self.alpha)
                for i in sorted(set(alive).difference(kept)):
                    branches[i] = cut(branches[i], checkpoint)
                    commands.append(Cancel(requests[i], branches[i].tokens))
                alive, checkpoint = kept, 2 * checkpoint
        scores = [score_of(branch, self.measure) if i in alive else None for i, branch in enumerate(branches)]
        return picked(read_some(question, branches, alive), scores)

    def _is_due(self, branches: Sequence[Branch], alive: Sequence[int], checkpoint: int) -> bool:
        """Whether all have reached the checkpoint or ended before it, and there is one that has reached it."""
        reached = [branches[i].tokens >= checkpoint for i in alive]
        ended = [branches[i].finished is not None for i in alive]
        return len(alive) > 1 and any(reached) and all(map(max, reached, ended))

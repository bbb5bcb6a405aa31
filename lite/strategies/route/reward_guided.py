"""Reward-guided hand-over: the small model drafts each step, the large one rewrites what scores low.

Reward-Guided Speculative Decoding (arXiv:2501.19324): a draft step is kept where r(step) >= delta, else it is thrown
away and the target model writes the step from the same text; at most 100 steps, delta = 0.7. The paper's r is a process
reward model. Give one as `reward`; without it, r is the step's mean token probability, exp(mean log-probability).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from lite.params import SamplingParams
from lite.sampler import Ability, Flow, Question
from lite.strategies.branches import Branch, draw
from lite.strategies.fields import setting
from lite.strategies.route.steps import Trace, check_steps, one_step

__all__ = ["RewardGuided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardGuided:
    """Steps by the small model where their reward reaches the threshold, by the large one where it does not.

    The candidates are the steps in the order in which they were drawn, drafts with their reward. A large model that
    fails is asked no more, and the drafts stand.
    """

    paper: ClassVar[str] = "arXiv:2501.19324"
    cost: ClassVar[str] = "1 trace by steps, drafts and remote calls that send all before"
    params: SamplingParams = field(default_factory=SamplingParams)
    threshold: float = setting(0.7, "delta: the least reward that keeps a draft")
    max_steps: int = setting(100, "steps at most")
    separator: str = setting(r"\n\n", r"what ends a step; \n is a line end")
    small: str = setting("local", "the sampler that drafts")
    large: str = setting("remote", "the sampler that rewrites")
    reward: Callable[[Question, str, str], float] | None = field(
        default=None, metadata={"doc": "(question, text before, step) -> reward; auto: the mean token probability"}
    )

    def __post_init__(self) -> None:
        check_steps(self.params, self.separator, self.max_steps)

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        large: frozenset[Ability] = frozenset({"prefix"})
        small: frozenset[Ability] = frozenset({"prefix"}) if self.reward else frozenset({"prefix", "logprobs"})
        return {self.large: large} | {self.small: small}

    def __call__(self, question: Question) -> Flow:
        trace = Trace(question, self.params, self.separator.replace(r"\n", "\n"))
        for _ in range(self.max_steps):
            if trace.is_over:
                break
            (draft,) = yield from draw((trace.request(self.small),))
            reward = self._reward(trace, draft)
            trace.note(draft, reward)
            if reward >= self.threshold or not (yield from one_step(trace, self.large)):
                trace.write(draft)
        return trace.answer()

    def _reward(self, trace: Trace, draft: Branch) -> float:
        if self.reward is not None:
            return self.reward(trace.question, trace.text, draft.text)
        return -math.inf if draft.mean_logprob is None else math.exp(draft.mean_logprob)

"""GlimpRouter: the first token of a step tells which model should write the step.

"GlimpRouter: Efficient Collaborative Inference by Glimpsing One Token of Thoughts". A thought is split into steps at
blank lines. At each step's start the small model computes one distribution; H_init is its entropy. Where
H_init <= tau the small model writes the step, else the large one does, from the whole text so far; the large one also
writes the final answer, once the thought is closed. tau is chosen for 20-30 % of the steps to be the large model's
(for Qwen3-4B tau = 1.8 gives 2 %, 0.01 gives 83 %); entropy over a whole step is a worse guide, its signal is diluted.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from lite.params import SamplingParams
from lite.sampler import Ability, Cancel, Command, Event, Flow, Question, Request
from lite.strategies.branches import Branch
from lite.strategies.fields import setting
from lite.strategies.route.steps import Trace, check_steps, one_step

__all__ = ["Glimp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Glimp:
    """Steps by the small model where its first token is sure, by the large one where it is not.

    The candidates are the steps, scored by their first token's entropy where it was glimpsed. A large model that fails
    is asked no more: the small one writes its steps and the rest.
    """

    paper: ClassVar[str] = ""
    cost: ClassVar[str] = "1 trace by steps, some of them remote calls that send all before"
    params: SamplingParams = field(default_factory=SamplingParams)
    threshold: float = setting(1.0, "tau: the most entropy of a step's first token, in nats, for the small model")
    max_steps: int = setting(64, "steps at most; then one of the models writes all the rest")
    separator: str = setting(r"\n\n", r"what ends a step; \n is a line end")
    small: str = setting("local", "the sampler that glimpses")
    large: str = setting("remote", "the sampler that writes unsure steps and the final answer")

    def __post_init__(self) -> None:
        check_steps(self.params, self.separator, self.max_steps)

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        large: frozenset[Ability] = frozenset({"prefix"})
        return {self.large: large} | {self.small: frozenset({"prefix", "entropy"})}

    def __call__(self, question: Question) -> Flow:
        trace = Trace(question, self.params, self.separator.replace(r"\n", "\n"))
        for _ in range(self.max_steps):
            if trace.is_over or trace.thought_is_closed(self.small):
                break
            branch, is_sure = yield from self._glimpse(trace.request(self.small), self.large in trace.lost)
            trace.note(branch, branch.entropy[0] if branch.entropy else None)
            if is_sure:
                trace.write(branch)
            elif not (yield from one_step(trace, self.large)):
                yield from one_step(trace, self.small)
        if not trace.is_over and not (yield from one_step(trace, self.large, to_the_end=True)):
            yield from one_step(trace, self.small, to_the_end=True)
        return trace.answer()

    def _glimpse(
        self, request: Request, alone: bool
    ) -> Generator[Sequence[Command], Sequence[Event], tuple[Branch, bool]]:
        """The step as the small model writes it, cancelled at its first token where that is unsure."""
        branch = Branch(request)
        is_sure = True if alone else None
        stop: Sequence[Command] = ()
        commands: Sequence[Command] = (request,)
        while branch.finished is None or stop:
            events = yield commands
            commands = stop = ()
            for event in events:
                if event.request is request:
                    branch.add(event)
            if is_sure is None and branch.entropy:
                is_sure = branch.entropy[0] <= self.threshold
                commands = stop = () if is_sure else (Cancel(request, at=0),)
        if is_sure is False:  # whatever came with the first token was drawn past the decision
            return Branch(request, entropy=branch.entropy[:1]), False
        return branch, True

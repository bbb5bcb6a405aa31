"""First finish search: of N samples drawn together, the first to end is the answer (arXiv:2505.18149).

For reasoning models, whose right answers tend to be short. First is fewest tokens, then lowest number, never time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from lite.params import SamplingParams
from lite.sampler import Ability, Flow, Question
from lite.strategies.branches import Branch, requests_of
from lite.strategies.fields import check_samples, setting
from lite.strategies.stop.cuts import read_some
from lite.strategies.stop.race import race
from lite.strategies.verdict import answer_text, picked

__all__ = ["FirstFinish"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstFinish:
    """The sample that ends after the fewest tokens; the others are stopped there.

    One that is cut short or says nothing has not finished; where none has, the first with an answer wins. The score
    is minus the length in tokens; a stopped sample has none.
    """

    paper: ClassVar[str] = "arXiv:2505.18149"
    cost: ClassVar[str] = "N samples, each as long as the shortest"
    samples: int = setting(4, "completions to begin")
    params: SamplingParams = field(default_factory=SamplingParams)
    sampler: str = setting("local", "which sampler draws")

    def __post_init__(self) -> None:
        check_samples(self.samples)

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return {self.sampler: frozenset()}

    def __call__(self, question: Question) -> Flow:
        def has_finished(branch: Branch) -> bool:
            return branch.reason in ("eos", "stop") and bool(answer_text(question, branch))

        def enough(branches: Sequence[Branch], crossed: Sequence[int], at: int) -> bool:
            return has_finished(branches[crossed[-1]])

        requests = requests_of(question, samples=self.samples, params=self.params, sampler=self.sampler)
        branches, crossed = yield from race(requests, enough)
        finished = [i for i in crossed if has_finished(branches[i])] or crossed
        scores = [-float(branch.tokens) if i in finished else None for i, branch in enumerate(branches)]
        return picked(read_some(question, branches, finished), scores)

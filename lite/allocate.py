"""One budget of samples for many questions: the easy ones get few, the hard ones what is left.

    answers = allocate(SelfCertainty(), questions, {"local": sampler}, total=8 * len(questions))

Difficulty is what a first look shows, the vote's disagreement among a few samples (arXiv:2408.03314 bins questions by
it, arXiv:2412.20993 schedules by it). Then, wave by wave, the least sure questions get more, until all are sure or the
samples are spent. All questions of a wave are drawn as one batch, and what was drawn is never drawn again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from lite.runner import run
from lite.sampler import Ability, Answer, Flow, Question, Sampler, Strategy
from lite.strategies.budget.drawn import Drawn
from lite.strategies.parts import with_samples

__all__ = ["allocate"]


def allocate(
    strategy: Strategy,
    questions: Sequence[Question],
    samplers: Mapping[str, Sampler],
    *,
    total: int,
    first: int = 4,
    wave: int = 4,
    most: int = 64,
    threshold: float = 0.8,
) -> list[Answer]:
    """The strategy's answers, in the questions' order, of `total` samples at most.

    Every question gets `first`, and while its confidence is below the threshold `wave` more at a time, the least
    confident half of these first (ties: the earlier question), up to `most` each. The same seed gives the same
    allocation. Raises ValueError for numbers below 1, a total too small for the first look, and a strategy that does
    not draw several samples.
    """
    for name, number in (("first", first), ("wave", wave)):
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    if with_samples(strategy, first) is strategy:
        raise ValueError(f"{type(strategy).__name__} does not draw several samples: there is nothing to allocate")
    if total < first * len(questions):
        raise ValueError(f"{len(questions)} questions with {first} samples each need more than the {total} in all")
    state = [_State(Drawn(), first) for _ in questions]
    chosen = list(range(len(questions)))
    while chosen:
        strategies = [_Continued(with_samples(strategy, state[i].samples), state[i].drawn) for i in chosen]
        for i, answer in zip(chosen, run(strategies, [questions[i] for i in chosen], samplers), strict=True):
            state[i].take(answer)
        chosen = _given_more(state, total, wave, most, threshold)
    return [one.answer for one in state]


@dataclass(slots=True)
class _State:
    """How far a question is."""

    drawn: Drawn
    samples: int
    answer: Answer = field(default_factory=lambda: Answer(text="", value=None, confidence=None, candidates=()))

    def take(self, answer: Answer) -> None:
        self.answer = replace(answer, cost=self.answer.cost + answer.cost)


@dataclass(frozen=True, slots=True)
class _Continued:
    """The strategy on top of what was drawn before."""

    inner: Strategy
    drawn: Drawn

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return self.inner.needs

    def __call__(self, question: Question) -> Flow:
        return self.drawn.around(self.inner(question))


def _given_more(state: Sequence[_State], total: int, wave: int, most: int, threshold: float) -> list[int]:
    """Give samples to the least sure questions, and tell which these are, in the questions' order."""
    left = total - sum(one.samples for one in state)
    unsure = sorted(
        (one.answer.confidence, i)
        for i, one in enumerate(state)
        if one.answer.confidence is not None and one.answer.confidence < threshold and one.samples < most
    )
    chosen = []
    for _, i in unsure[: (len(unsure) + 1) // 2]:
        more = min(wave, left, most - state[i].samples)
        if more:
            state[i].samples += more
            left -= more
            chosen.append(i)
    return sorted(chosen)

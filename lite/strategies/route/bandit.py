"""Bandit routing: learn from outcomes which strategy to give which kind of question.

"GreenServ: Energy-Efficient Context-Aware Dynamic Routing for Multi-Model LLM Inference", with LinUCB (arXiv:1003.0146,
algorithm 1, disjoint): for each arm A = reg I + sum x x^T, b = sum r x, theta = A^-1 b, and the arm with the highest
theta.x + alpha sqrt(x^T A^-1 x) is taken. The reward is w accuracy - (1 - w) cost, both in [0, 1]. reg = alpha = 0.1.
GreenServ's context is the task's type, a semantic cluster and the reading ease in three bins; here, without embeddings,
it is the type by surface features, the length in three bins and the reading ease.

A flow reads the state and never changes it, so it is deterministic; the caller learns between runs:

    arm = bandit.arm(question)
    answer, = run(bandit, [question], samplers)
    bandit = replace(bandit, state=bandit.state.learned(question, arm, reward(right, cost)))
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, TypeAlias

from lite.params import Chat
from lite.sampler import Ability, Flow, Question, Strategy
from lite.strategies.fields import setting
from lite.strategies.select.greedy import Greedy
from lite.strategies.select.self_certainty import SelfCertainty

__all__ = ["Arm", "Bandit", "BanditState", "features", "reward"]

Vector: TypeAlias = tuple[float, ...]

NUM_FEATURES = 11


@dataclass(frozen=True, slots=True)
class Arm:
    """What is known of one strategy: the inverse of A, kept up to date by Sherman and Morrison's formula, and b."""

    inverse: tuple[Vector, ...]
    b: Vector
    pulls: int = 0

    def bound(self, x: Vector, alpha: float) -> float:
        """The upper confidence bound of the reward."""
        spread = _times(self.inverse, x)
        mean = sum(weight * value for weight, value in zip(self.b, spread, strict=True))  # theta.x, A being symmetric
        return mean + alpha * math.sqrt(max(0.0, sum(a * value for a, value in zip(x, spread, strict=True))))

    def learned(self, x: Vector, value: float) -> "Arm":
        spread = _times(self.inverse, x)
        scale = 1 + sum(a * s for a, s in zip(x, spread, strict=True))
        inverse = tuple(
            tuple(entry - spread[i] * spread[j] / scale for j, entry in enumerate(row))
            for i, row in enumerate(self.inverse)
        )
        return Arm(inverse, tuple(old + value * a for old, a in zip(self.b, x, strict=True)), self.pulls + 1)


@dataclass(frozen=True, slots=True)
class BanditState:
    """All that was learned. An arm that was never pulled starts from `regularization`."""

    arms: Mapping[int, Arm] = field(default_factory=dict)
    regularization: float = 0.1

    def arm(self, index: int) -> Arm:
        diagonal = 1 / self.regularization
        rows = range(NUM_FEATURES)
        fresh = Arm(tuple(tuple(diagonal if i == j else 0.0 for j in rows) for i in rows), (0.0,) * NUM_FEATURES)
        return self.arms.get(index, fresh)

    def learned(self, question: Question, index: int, value: float) -> "BanditState":
        """The state after the arm has brought this reward."""
        return replace(self, arms={**self.arms, index: self.arm(index).learned(features(question), value)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandit:
    """The strategy with the highest bound for this kind of question; ties go to the earlier: small, large, others."""

    paper: ClassVar[str] = ""
    cost: ClassVar[str] = "one arm's"
    small: Strategy = field(default_factory=SelfCertainty, metadata={"doc": "the first arm"})
    large: Strategy = field(default_factory=lambda: Greedy(sampler="remote"), metadata={"doc": "the second arm"})
    others: tuple[Strategy, ...] = field(default=(), metadata={"doc": "further arms, set from Python"})
    alpha: float = setting(0.1, "how much an arm's uncertainty counts for it")
    state: BanditState = field(default_factory=BanditState, metadata={"doc": "what was learned, set from Python"})

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < math.inf:
            raise ValueError(f"alpha must be 0 or above, got {self.alpha}")
        if not all(hasattr(strategy, "needs") for strategy in self.others):
            raise ValueError(f"others must be strategies, and can be set from Python only, got {self.others!r}")
        if not isinstance(self.state.arms, Mapping):
            raise ValueError(f"state must be a BanditState, and can be set from Python only, got {self.state!r}")

    @property
    def strategies(self) -> Sequence[Strategy]:
        return (self.small, self.large, *self.others)

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        needs: dict[str, frozenset[Ability]] = {}
        for strategy in self.strategies:
            for name, abilities in strategy.needs.items():
                needs[name] = needs.get(name, frozenset()) | abilities
        return needs

    def arm(self, question: Question) -> int:
        """Which of `strategies` answers this question."""
        x = features(question)
        bounds = [self.state.arm(i).bound(x, self.alpha) for i in range(len(self.strategies))]
        return bounds.index(max(bounds))

    def __call__(self, question: Question) -> Flow:
        return self.strategies[self.arm(question)](question)


def reward(accuracy: float, cost: float, weight: float = 0.5) -> float:
    """weight * accuracy - (1 - weight) * cost; all in [0, 1], the cost as a part of the dearest there may be."""
    return weight * accuracy - (1 - weight) * min(1.0, max(0.0, cost))


def features(question: Question) -> Vector:
    """A constant, the type (choices, numbers, code, other), the length and the reading ease in three bins each."""
    text = _text(question)
    kinds = (
        bool(question.choices),
        len(re.findall(r"\d+", text)) >= 2,
        re.search(r"```|\bdef |\bclass |[;{}]\s*$|\breturn\b", text, re.MULTILINE) is not None,
    )
    kind = kinds.index(True) if True in kinds else 3
    num_words = len(text.split())
    length = 0 if num_words < 30 else 1 if num_words < 120 else 2
    ease = reading_ease(text)
    level = 0 if ease < 33 else 1 if ease < 67 else 2
    hot = {1 + kind, 5 + length, 8 + level}
    return tuple(1.0 if i == 0 or i in hot else 0.0 for i in range(NUM_FEATURES))


def reading_ease(text: str) -> float:
    """Flesch: 206.835 - 1.015 words / sentences - 84.6 syllables / words; a group of vowels counts as a syllable."""
    found = re.findall(r"[^\W\d_]+", text.lower())
    sentences = max(1, len(re.findall(r"[.!?]+(?=\s|$)", text)))
    syllables = sum(max(1, len(re.findall(r"[aeiouy]+", word))) for word in found)
    num_words = max(1, len(found))
    return 206.835 - 1.015 * num_words / sentences - 84.6 * syllables / num_words


def _text(question: Question) -> str:
    prompt = question.prompt
    if isinstance(prompt, Chat):
        return "\n".join(message.content for message in prompt.messages if message.role == "user")
    return prompt if isinstance(prompt, str) else ""


def _times(matrix: Sequence[Vector], x: Vector) -> Vector:
    return tuple(sum(a * value for a, value in zip(row, x, strict=True)) for row in matrix)

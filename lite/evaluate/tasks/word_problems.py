"""Word problems of one to six arithmetic steps: a seeded generator, their two kinds of solution, and a checker.

    >>> problem = generate(7, steps=2, split="validation")
    >>> check(f"The answer is {problem.answer}.", problem)
    True

The three splits share no problem: which one a problem is in depends on a hash of its operations alone, whatever names,
objects and phrasings tell it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from typing import Literal

from lite.evaluate.tasks.stories.tell import tell
from lite.evaluate.tasks.word_traces import Operation, direct_trace, thinking_trace

__all__ = ["Problem", "Split", "check", "extract", "generate", "problems", "split_of"]

Split = Literal["train", "validation", "test"]

_ANSWER = re.compile(r"[Tt]he answer is\s*:?\s*\$?(-?\d[\d,]*(?:\.\d+)?)")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True, slots=True)
class Problem:
    """A question, and the operations that answer it, in order."""

    question: str
    operations: tuple[Operation, ...]
    target: str

    @property
    def answer(self) -> int:
        """The result of the last operation."""
        return self.operations[-1].result

    @property
    def steps(self) -> int:
        """How many operations it takes."""
        return len(self.operations)

    @property
    def thinking(self) -> str:
        """The completion in thinking mode: a thought, then the answer."""
        return thinking_trace(self.operations, self.target).text

    @property
    def direct(self) -> str:
        """The completion after a closed thought: each step in one go, then the answer."""
        return direct_trace(self.operations).text


def split_of(operations: Sequence[Operation]) -> Split:
    """The split that these operations belong to: a twentieth each for validation and test."""
    digest = blake2b(";".join(map(str, operations)).encode(), digest_size=4).digest()
    twentieth = int.from_bytes(digest, "big") % 20
    return "test" if twentieth == 0 else "validation" if twentieth == 1 else "train"


def generate(seed: int, *, steps: int | None = None, split: Split = "train") -> Problem:
    """The problem with this seed; of 1 to 6 steps, evenly drawn, if `steps` is None."""
    if steps is not None and not 1 <= steps <= 6:
        raise ValueError(f"steps must be from 1 to 6, got {steps}")
    random = Random(f"word problem {seed}")
    count = random.randint(1, 6) if steps is None else steps
    while True:
        story = tell(random, count)
        if split_of(story.operations) == split:
            return Problem(story.text(), tuple(story.operations), story.target)


def problems(
    count: int, *, seed: int = 0, split: Split = "test", steps: Sequence[int] = (1, 2, 3, 4, 5, 6)
) -> list[Problem]:
    """`count` different problems, their numbers of steps in turn those of `steps`."""
    found: list[Problem] = []
    seen: set[tuple[Operation, ...]] = set()
    draw = seed * 1_000_003
    while len(found) < count:
        problem = generate(draw, steps=steps[len(found) % len(steps)], split=split)
        draw += 1
        if problem.operations not in seen:
            seen.add(problem.operations)
            found.append(problem)
    return found


def extract(text: str) -> str | None:
    """The number a completion answers with: after the last "The answer is", else the last one outside a thought."""
    spoken = text.rpartition("</think>")[2]
    stated: list[str] = _ANSWER.findall(spoken)
    if not stated and ("<think>" not in text or "</think>" in text):
        stated = _NUMBER.findall(spoken)
    return stated[-1].replace(",", "") if stated else None


def check(text: str, problem: Problem) -> bool:
    """Whether the completion's answer is the problem's."""
    answer = extract(text)
    return answer is not None and float(answer) == problem.answer

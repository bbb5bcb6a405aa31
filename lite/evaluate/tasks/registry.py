"""The built-in tasks by name: all generated offline from a seed, with answers that are right by construction."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from lite.evaluate.items import Item
from lite.evaluate.tasks.arithmetic import arithmetic
from lite.evaluate.tasks.lists import lists
from lite.evaluate.tasks.procedures import procedures

__all__ = ["TASKS", "Generator"]

Generator: TypeAlias = Callable[[int, int], list[Item]]
"""(count, seed) -> that many items; more of the same seed begin with the fewer."""


def _word_problems(count: int, seed: int) -> list[Item]:
    from lite.evaluate.tasks.word_problems import problems

    return [
        Item(id=str(i), question=problem.question, answer=str(problem.answer))
        for i, problem in enumerate(problems(count, seed=seed, split="test"))
    ]


TASKS: Mapping[str, Generator] = MappingProxyType(
    {"word-problems": _word_problems, "arithmetic": arithmetic, "lists": lists, "procedures": procedures}
)

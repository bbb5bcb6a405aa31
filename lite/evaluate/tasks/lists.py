"""A list of numbers, changed step by step, then asked for one number."""

from collections.abc import Callable
from random import Random
from typing import TypeAlias

from lite.evaluate.items import Item

__all__ = ["lists"]

Numbers: TypeAlias = list[int]
Change: TypeAlias = Callable[[Random, Numbers], tuple[str, Numbers]]


def lists(count: int, seed: int) -> list[Item]:
    """`count` questions with 1 to 6 changes in turn."""
    return [_item(i, Random(f"lists {seed} {i}"), 1 + i % 6) for i in range(count)]


def _item(index: int, dice: Random, steps: int) -> Item:
    numbers = [dice.randint(1, 50) for _ in range(dice.randint(4, 8))]
    told = [f"Start with the list {numbers}."]
    for _ in range(steps):
        change = dice.choice(_CHANGES if len(numbers) > 3 else _GROWING)
        words, numbers = change(dice, numbers)
        told.append(words)
    words, answer = _asked(dice, numbers)
    return Item(id=str(index), question=f"{' '.join(told)} {words}", answer=str(answer))


def _asked(dice: Random, numbers: Numbers) -> tuple[str, int]:
    place = dice.randint(1, len(numbers))
    return dice.choice(
        [
            ("What is the sum of the list?", sum(numbers)),
            ("What is the largest number of the list?", max(numbers)),
            ("How many numbers are in the list?", len(numbers)),
            (f"What is the number at position {place}, counted from 1?", numbers[place - 1]),
            ("What is the last number minus the first?", numbers[-1] - numbers[0]),
        ]
    )


def _reverse(dice: Random, numbers: Numbers) -> tuple[str, Numbers]:
    return "Reverse it.", numbers[::-1]


def _sort(dice: Random, numbers: Numbers) -> tuple[str, Numbers]:
    if dice.random() < 0.5:
        return "Sort it from small to large.", sorted(numbers)
    return "Sort it from large to small.", sorted(numbers, reverse=True)


def _add(dice: Random, numbers: Numbers) -> tuple[str, Numbers]:
    term = dice.randint(1, 9)
    return f"Add {term} to every number.", [number + term for number in numbers]


def _append(dice: Random, numbers: Numbers) -> tuple[str, Numbers]:
    number = dice.randint(1, 50)
    return f"Append {number}.", [*numbers, number]


def _rotate(dice: Random, numbers: Numbers) -> tuple[str, Numbers]:
    return "Move the first number to the end.", [*numbers[1:], numbers[0]]


def _swap(dice: Random, numbers: Numbers) -> tuple[str, Numbers]:
    return "Swap the first and the last number.", [numbers[-1], *numbers[1:-1], numbers[0]]


def _drop_largest(dice: Random, numbers: Numbers) -> tuple[str, Numbers]:
    place = numbers.index(max(numbers))
    return "Remove the first occurrence of the largest number.", numbers[:place] + numbers[place + 1 :]


def _drop_first(dice: Random, numbers: Numbers) -> tuple[str, Numbers]:
    return "Remove the first number.", numbers[1:]


_GROWING: tuple[Change, ...] = (_reverse, _sort, _add, _append, _rotate, _swap)
_CHANGES: tuple[Change, ...] = (*_GROWING, _drop_largest, _drop_first)

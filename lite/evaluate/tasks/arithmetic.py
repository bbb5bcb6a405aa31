"""Arithmetic with whole numbers of several digits: one to five operations in one expression."""

from random import Random

from lite.evaluate.items import Item

__all__ = ["arithmetic"]

_LARGEST_FACTOR = 99


def arithmetic(count: int, seed: int) -> list[Item]:
    """`count` expressions of 1 to 5 operations in turn, each with its value."""
    return [_item(i, Random(f"arithmetic {seed} {i}"), 1 + i % 5) for i in range(count)]


def _item(index: int, dice: Random, steps: int) -> Item:
    text, value, is_sum = str(first := dice.randint(10, 9999)), first, False
    for _ in range(steps):
        text, value, is_sum = _step(dice, text, value, is_sum)
    return Item(id=str(index), question=f"What is {text}?", answer=str(value))


def _step(dice: Random, text: str, value: int, is_sum: bool) -> tuple[str, int, bool]:
    """The expression with one more operation at its right; a sum that is multiplied gets parentheses."""
    sign = dice.choice("++--*") if abs(value) < 10**6 else dice.choice("+-")
    if sign == "*":
        factor = dice.randint(2, _LARGEST_FACTOR)
        return f"{f'({text})' if is_sum else text} * {factor}", value * factor, False
    term = dice.randint(10, 9999)
    return f"{text} {sign} {term}", value + term if sign == "+" else value - term, True

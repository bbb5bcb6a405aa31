"""Following a procedure to the letter: a text changed by explicit steps, as in ProcBench (arXiv:2410.03117).

The steps need no knowledge, so what is measured is whether all of them are carried out. Answers are words of small
letters.
"""

from collections.abc import Callable
from random import Random
from typing import TypeAlias

from lite.evaluate.items import Item

__all__ = ["procedures"]

Step: TypeAlias = Callable[[Random, str], tuple[str, str]]

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def procedures(count: int, seed: int) -> list[Item]:
    """`count` procedures of 2 to 9 steps in turn."""
    return [_item(i, Random(f"procedures {seed} {i}"), 2 + i % 8) for i in range(count)]


def _item(index: int, dice: Random, num_steps: int) -> Item:
    text = "".join(dice.choices(_LETTERS, k=dice.randint(4, 7)))
    lines = [f"Start with the word {text} and follow the steps."]
    for number in range(1, num_steps + 1):
        words, text = dice.choice(_STEPS if len(text) > 3 else _GROWING)(dice, text)
        lines.append(f"{number}. {words}")
    lines.append("What is the final word?")
    return Item(id=str(index), question="\n".join(lines), answer=text)


def _reverse(dice: Random, text: str) -> tuple[str, str]:
    return "Reverse the word.", text[::-1]


def _append(dice: Random, text: str) -> tuple[str, str]:
    letter = dice.choice(_LETTERS)
    return f"Add the letter {letter} at the end.", text + letter


def _prepend(dice: Random, text: str) -> tuple[str, str]:
    letter = dice.choice(_LETTERS)
    return f"Add the letter {letter} at the beginning.", letter + text


def _replace(dice: Random, text: str) -> tuple[str, str]:
    place, letter = dice.randrange(len(text)), dice.choice(_LETTERS)
    return f"Replace letter number {place + 1} by {letter}.", text[:place] + letter + text[place + 1 :]


def _rotate(dice: Random, text: str) -> tuple[str, str]:
    return "Move the last letter to the beginning.", text[-1] + text[:-1]


def _swap(dice: Random, text: str) -> tuple[str, str]:
    return "Swap the first and the last letter.", text[-1] + text[1:-1] + text[0]


def _next_letters(dice: Random, text: str) -> tuple[str, str]:
    shifted = "".join(_LETTERS[(_LETTERS.index(letter) + 1) % 26] for letter in text)
    return "Replace every letter by the next one of the alphabet, z by a.", shifted


def _drop(dice: Random, text: str) -> tuple[str, str]:
    place = dice.randrange(len(text))
    return f"Remove letter number {place + 1}.", text[:place] + text[place + 1 :]


_GROWING: tuple[Step, ...] = (_reverse, _append, _prepend, _replace, _rotate, _swap, _next_letters)
_STEPS: tuple[Step, ...] = (*_GROWING, _drop)

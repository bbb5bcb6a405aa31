"""The built-in tasks: seeded, extensible, and right."""

import ast
import re

import pytest

from lite.answers import equivalent, extract
from lite.evaluate.items import Item, load_suite
from lite.evaluate.tasks.registry import TASKS

every_task = pytest.mark.parametrize("task", TASKS)


@every_task
def test_more_questions_of_a_seed_begin_with_the_fewer(task: str) -> None:
    assert load_suite(task, limit=24).items[:12] == load_suite(task, limit=12).items
    assert load_suite(task, limit=12).items != load_suite(task, limit=12, seed=1).items


@every_task
def test_questions_differ_and_their_answers_can_be_read(task: str) -> None:
    items = load_suite(task, limit=60).items
    assert len({item.question for item in items}) == 60
    for item in items:
        assert equivalent(extract(f"So the answer is {item.answer}.") or "", item.answer)


def test_arithmetic_is_right() -> None:
    for item in load_suite("arithmetic", limit=80).items:
        expression = item.question.removeprefix("What is ").removesuffix("?")
        assert re.fullmatch(r"[\d+*() -]+", expression)
        assert eval(expression) == int(item.answer)


def test_lists_are_right() -> None:
    for item in load_suite("lists", limit=200).items:
        assert str(_followed_list(item)) == item.answer


def _followed_list(item: Item) -> int:
    """The question carried out by another program than the one that made it."""
    head, rest = item.question.split("]. ", 1)
    numbers: list[int] = ast.literal_eval(head.removeprefix("Start with the list ") + "]")
    *changes, asked = re.findall(r"[^.?]+[.?]", rest)
    for change in map(str.strip, changes):
        number = int((re.findall(r"\d+", change) or ["0"])[0])
        if change == "Reverse it.":
            numbers.reverse()
        elif change.startswith("Sort"):
            numbers.sort(reverse="from large" in change)
        elif change.startswith("Add"):
            numbers = [n + number for n in numbers]
        elif change.startswith("Append"):
            numbers.append(number)
        elif change.startswith("Move"):
            numbers.append(numbers.pop(0))
        elif change.startswith("Swap"):
            numbers[0], numbers[-1] = numbers[-1], numbers[0]
        elif "largest" in change:
            numbers.remove(max(numbers))
        else:
            numbers.pop(0)
    if "sum" in asked:
        return sum(numbers)
    if "largest" in asked:
        return max(numbers)
    if "How many" in asked:
        return len(numbers)
    if "minus" in asked:
        return numbers[-1] - numbers[0]
    return numbers[int(re.findall(r"\d+", asked)[0]) - 1]


def test_procedures_are_right() -> None:
    for item in load_suite("procedures", limit=200).items:
        assert _followed_procedure(item) == item.answer


def _followed_procedure(item: Item) -> str:
    first, *steps, _ = item.question.split("\n")
    letters = list(first.split()[4])
    for step in (line.partition(". ")[2] for line in steps):
        place = int((re.findall(r"\d+", step) or ["0"])[0]) - 1
        if step.startswith("Reverse"):
            letters.reverse()
        elif step.endswith("at the end."):
            letters.append(step.split()[3])
        elif step.startswith("Add"):
            letters.insert(0, step.split()[3])
        elif step.startswith("Replace letter"):
            letters[place] = step[-2]
        elif step.startswith("Move"):
            letters.insert(0, letters.pop())
        elif step.startswith("Swap"):
            letters[0], letters[-1] = letters[-1], letters[0]
        elif step.startswith("Remove"):
            del letters[place]
        else:
            letters = ["a" if letter == "z" else chr(ord(letter) + 1) for letter in letters]
    return "".join(letters)

"""The word problems: what is promised of their splits, their traces and their checker."""

from __future__ import annotations

import re

import pytest

from lite.evaluate.tasks.stories.story import NUMBER_WORDS
from lite.evaluate.tasks.word_problems import Problem, check, extract, generate, problems, split_of
from lite.evaluate.tasks.word_traces import Operation, Slip, small_steps, thinking_trace

EQUATION = re.compile(r"(\d+(?:[-+*/]\d+)+)=(\d+)")
SPLITS = ("train", "validation", "test")


def value(expression: str) -> int:
    """The value of a chain of numbers joined by one kind of sign."""
    for sign, fold in (
        ("+", sum),
        ("-", lambda n: n[0] - n[1]),
        ("*", lambda n: n[0] * n[1]),
        ("/", lambda n: n[0] // n[1]),
    ):
        if sign in expression:
            return fold([int(part) for part in expression.split(sign)])
    raise ValueError(expression)


def false_equations(text: str) -> list[str]:
    return [f"{left}={right}" for left, right in EQUATION.findall(text) if value(left) != int(right)]


@pytest.fixture(scope="module")
def drawn() -> list[Problem]:
    return problems(1200, seed=11, split="train")


def test_the_same_seed_gives_the_same_problem() -> None:
    assert [generate(seed) for seed in range(40)] == [generate(seed) for seed in range(40)]
    assert problems(30, seed=5) == problems(30, seed=5)
    assert problems(30, seed=5) != problems(30, seed=6)


def test_no_problem_is_in_two_splits() -> None:
    told = [{problem.operations for problem in problems(400, seed=3, split=split)} for split in SPLITS]  # type: ignore[arg-type]
    assert not told[0] & told[1]
    assert not told[0] & told[2]
    assert not told[1] & told[2]


def test_the_split_looks_at_the_arithmetic_and_not_at_the_words() -> None:
    for problem in problems(60, seed=4, split="validation"):
        assert split_of([Operation(step.sign, step.a, step.b) for step in problem.operations]) == "validation"


@pytest.mark.parametrize("steps", range(1, 7))
def test_a_problem_has_the_steps_asked_for(steps: int) -> None:
    assert all(generate(seed, steps=steps, split="test").steps == steps for seed in range(30))


@pytest.mark.parametrize("steps", [0, 7, -1])
def test_a_number_of_steps_out_of_range_is_refused(steps: int) -> None:
    with pytest.raises(ValueError, match="steps must be from 1 to 6"):
        generate(0, steps=steps)


def test_problems_are_evenly_of_one_to_six_steps_and_all_different() -> None:
    found = problems(120, seed=1)
    assert [problem.steps for problem in found] == [1, 2, 3, 4, 5, 6] * 20
    assert len({problem.operations for problem in found}) == 120


def test_every_equation_of_every_solution_is_true(drawn: list[Problem]) -> None:
    for problem in drawn:
        assert not false_equations(problem.thinking + "\n" + problem.direct)


def test_results_stay_small_and_no_division_leaves_a_rest(drawn: list[Problem]) -> None:
    for problem in drawn:
        for step in problem.operations:
            assert 0 <= step.result <= 9999
            assert step.sign != "/" or step.result * step.b == step.a


def test_both_solutions_end_in_the_answer(drawn: list[Problem]) -> None:
    for problem in drawn:
        assert problem.thinking.startswith("<think>\nTo find: ")
        assert problem.thinking.endswith(f".\n</think>\n\nThe answer is {problem.answer}.")
        assert problem.direct.endswith(f".\nThe answer is {problem.answer}.")
        assert problem.direct.count("\n") == problem.steps
        assert check(problem.thinking, problem)
        assert check(problem.direct, problem)


def test_a_thought_is_three_to_five_times_as_long_as_a_direct_solution(drawn: list[Problem]) -> None:
    assert 3 < sum(len(p.thinking) for p in drawn) / sum(len(p.direct) for p in drawn) < 5


def test_the_numbers_of_a_question_are_those_of_its_operations(drawn: list[Problem]) -> None:
    for problem in drawn:
        results = {step.result for step in problem.operations}
        given = {int(number) for number in re.findall(r"\d+", problem.question)}
        given |= {NUMBER_WORDS.index(word) for word in re.findall("[a-z]+", problem.question) if word in NUMBER_WORDS}
        for step in problem.operations:
            halved = step.sign == "/" and step.b == 2
            assert step.a in given | results or step.a in (2, 3)
            assert step.b in given | results or step.b in (2, 3) or halved


def test_questions_are_of_many_kinds(drawn: list[Problem]) -> None:
    shapes = {re.sub(r"\d+", "#", problem.question) for problem in drawn}
    words = {word for problem in drawn for word in re.findall(r"[A-Za-z]+", problem.question)}
    assert len(shapes) > 0.9 * len(drawn)
    assert len(words) > 400
    signs = [step.sign for problem in drawn for step in problem.operations]
    assert all(signs.count(sign) > 0.08 * len(signs) for sign in "+-*/")
    assert not any("{" in problem.question or "  " in problem.question for problem in drawn)


@pytest.mark.parametrize(
    ("operation", "lines"),
    [
        (Operation("-", 617, 128), ["617-100=517", "517-20=497", "497-8=489"]),
        (Operation("*", 6, 347), ["6*300=1800", "6*40=240", "6*7=42", "1800+240=2040", "2040+42=2082"]),
        (Operation("*", 23, 47), ["23*40=920", "23*7=161", "920+100=1020", "1020+60=1080", "1080+1=1081"]),
        (Operation("/", 816, 4), ["4*200=800", "816-800=16", "4*4=16", "200+4=204"]),
        (Operation("+", 45, 38), ["45+38=83"]),
        (Operation("+", 617, 200), ["617+200=817"]),
        (Operation("/", 96, 8), ["96/8=12"]),
    ],
)
def test_larger_operations_are_decomposed_by_place(operation: Operation, lines: list[str]) -> None:
    assert small_steps(operation) == lines


def test_a_slip_is_noticed_by_the_check_and_mended() -> None:
    operations = [Operation("-", 617, 128), Operation("*", 2, 489)]
    trace = thinking_trace(operations, "the result", slip=Slip(0, 9))
    assert false_equations(trace.text) == ["497-8=498"]
    assert [trace.text[start:end] for start, end in trace.masked] == ["498"]
    assert "498+128=626, not 617. Again:\n617-128:\n" in trace.text
    assert trace.text.endswith("500*2=1000 ok.\n</think>\n\nThe answer is 978.") or trace.text.endswith(
        "2*500=1000 ok.\n</think>\n\nThe answer is 978."
    )


def test_what_is_left_out_of_a_trace_is_masked_as_a_decision() -> None:
    operations = [Operation("-", 617, 128)]
    unchecked = thinking_trace(operations, "it", check=False)
    assert "Check" not in unchecked.text
    assert [unchecked.text[start:end] for start, end in unchecked.masked] == ["</think>"]
    whole = thinking_trace(operations, "it", whole=frozenset({0}))
    assert "\n617-128=489.\nCheck:" in whole.text
    assert [whole.text[start:end] for start, end in whole.masked] == ["="]
    unstated = thinking_trace(operations, "it", restate=False)
    assert unstated.text.startswith("<think>\n617-128:")
    assert [unstated.text[start:end] for start, end in unstated.masked] == ["6"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 1954.", "1954"),
        ("6*347=2082.\nThe answer is 1,954.", "1954"),
        ("<think>\nThe answer is 3.\n</think>\n\nThe answer is 4.", "4"),
        ("<think>\n12+3=15.\n", None),
        ("so it makes 17 in all", "17"),
        ("The answer is 12.50.", "12.50"),
        ("no number", None),
        ("", None),
    ],
)
def test_the_answer_is_read_from_a_completion(text: str, answer: str | None) -> None:
    assert extract(text) == answer


def test_a_wrong_answer_is_wrong() -> None:
    problem = generate(3, steps=2)
    assert check(f"The answer is {problem.answer}.", problem)
    assert not check(f"The answer is {problem.answer + 1}.", problem)
    assert not check("I do not know.", problem)

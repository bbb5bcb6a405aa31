"""The parts that the stopping strategies share."""

import math

import pytest

from lite.params import Chat, Prompt
from lite.sampler import Question, Request
from lite.strategies.select.majority import majority
from lite.strategies.select.self_certainty import borda
from lite.strategies.stop.beta import (
    beta_cdf,
    beta_majority,
    dirichlet_majority,
    overtaking_probability,
    student_tail,
)
from lite.strategies.stop.bounds import is_safe, is_safe_borda
from lite.strategies.stop.steps import StepEnds
from lite.strategies.stop.thought import closing_cue, in_thought, thought_closing
from tests.strategies.stop.scripts import THINKING

TEXTS = ["Pi", " is", " 3", ".", "14", ".", " So", " yes", "!", "\n", "\n", "End", "...", " \n", "e.g. a", " b"]


@pytest.mark.parametrize(
    ("step", "every", "ends"),
    [
        ("sentence", 1, [6, 9, 13, 15]),
        ("sentence", 2, [9, 15]),
        ("line", 1, [10, 14]),
        ("paragraph", 1, [11]),
        ("token", 5, [5, 10, 15]),
        ("s", 1, [2, 8]),
        ("So yes", 1, [8]),
    ],
)
def test_steps_end_at_the_same_tokens_however_many_are_read_at_a_time(step: str, every: int, ends: list[int]) -> None:
    for size in (1, 2, 5, 99):
        finder = StepEnds(step, every)
        read = [p for end in range(size, len(TEXTS) + size, size) for p in finder.read(TEXTS[:end])]
        assert read == ends, size


def test_a_reflection_begins_where_a_sentence_turns_to_checking_or_doubts() -> None:
    said = "It| is| 4|.|\n|Check|:|\n|4| ok|.| Wait|,| no|.| Checkers| are|.|\n\n|But| let| me| verify| it|.|\n"
    texts = said.split("|")
    for size in (1, 2, 5, 99):
        finder = StepEnds("reflection", 1)
        read = [p for end in range(size, len(texts) + size, size) for p in finder.read(texts[:end])]
        assert ["".join(texts[p:][:2]) for p in read] == ["Check:", " Wait,", "But let"], size


@pytest.mark.parametrize(
    ("prompt", "said", "text", "expected"),
    [
        (Chat.ask("?"), "", "so", True),
        (Chat.ask("?", thinking=False), "", "so", False),
        (Chat.ask("?", thinking=False), "", "<think> so", True),
        (Chat.ask("?"), "", "<think> so </think> it", False),
        (Chat.ask("?"), "", "so </think> it", False),
        (Chat.ask("?"), "<think>\n\n</think>\n\n", "so", False),
        ("Q <think>", "", "so", True),
        ("Q <think> </think>", "", "so", False),
        ("Q", "", "so", False),
        ("Q", "", "<think>so", True),
        ((1, 2), "", "so", False),
    ],
)
def test_a_thought_may_be_opened_by_the_prompt_or_by_the_model(
    prompt: Prompt, said: str, text: str, expected: bool
) -> None:
    question = Question(prompt=prompt, models={"local": THINKING})
    assert in_thought(question, Request(prompt, prefix=said), text) is expected
    assert bool(thought_closing(question, Request(prompt, prefix=said), text)) is expected


def test_a_cue_stands_apart_from_what_was_said() -> None:
    thinking = Question(prompt="<think>", models={"local": THINKING})
    plain = Question(prompt="?")
    assert closing_cue(thinking, Request("<think>"), "ok.\n", "So") == "</think>\n\nSo"
    assert closing_cue(plain, Request("?"), "ok.", "So") == " So"
    assert closing_cue(plain, Request("?"), "ok.\n", "So") == closing_cue(plain, Request("?"), "", "So") == "So"


def test_beta_and_student_probabilities_are_right() -> None:
    for a, b in ((1, 1), (3, 5), (7, 2)):
        tail = sum(math.comb(a + b - 1, i) * 0.3**i * 0.7 ** (a + b - 1 - i) for i in range(a, a + b))
        assert beta_cdf(0.3, a, b) == pytest.approx(tail, rel=1e-12)
    assert student_tail(0, 3) == pytest.approx(0.5)
    assert student_tail(1, 1) == pytest.approx(0.25)  # Cauchy
    assert student_tail(2.919986, 2) == pytest.approx(0.05, abs=1e-7)
    assert student_tail(-1.812461, 10) == pytest.approx(0.95, abs=1e-7)


def test_a_leader_of_two_answers_is_as_likely_by_both_criteria() -> None:
    assert beta_majority(4, 0) == pytest.approx(31 / 32)
    assert beta_majority(3, 3) == pytest.approx(0.5)
    for first, second in ((4, 0), (5, 2), (9, 8)):
        assert dirichlet_majority([first, second]) == pytest.approx(beta_majority(first, second), abs=1e-6)
    assert dirichlet_majority([2, 2, 2]) == pytest.approx(1 / 3, abs=1e-6)


def test_overtaking_needs_enough_votes_to_come_and_one_more_where_ties_are_lost() -> None:
    assert overtaking_probability(3, 0, 2) == 0
    assert overtaking_probability(3, 0, 3) == 0
    assert overtaking_probability(3, 0, 3, wins_ties=True) > 0
    assert overtaking_probability(1, 1, 0, wins_ties=True) == 1
    assert overtaking_probability(1, 1, 0) == 0
    assert overtaking_probability(1, 0, 1, wins_ties=True) == pytest.approx(1 / 3)  # the rule of succession
    assert overtaking_probability(4, 1, 9) > overtaking_probability(5, 1, 9)


def test_a_leader_is_safe_when_all_open_votes_for_one_rival_do_not_suffice() -> None:
    five = ["a", "a", "a", "b", None]
    assert not is_safe(majority(five), {4: 1.0, 5: 1.0, 6: 1.0}, five)
    assert is_safe(majority(five), {4: 1.0, 5: 1.0}, five)  # a tie goes to sample 0
    assert is_safe(majority(["a", "a", None, None]), {2: 1.0, 3: 1.0}, ["a", "a", None, None])  # a tie goes to sample 0
    assert not is_safe(majority([None, None, "a", "a"]), {0: 1.0, 1: 1.0}, [None, None, "a", "a"])
    assert not is_safe(majority([None]), {}, [None])


def test_borda_bound_finds_the_worst_ranks() -> None:
    answers, sure = ["a", "a", "b", None], [9.0, 8.0, 7.0, -math.inf]
    election = borda(sure, answers, 1.0)  # a: 4 + 3, b: 2
    assert not is_safe_borda(election, {3: 1.0}, answers, sure, 1.0)  # 3 + 2 against 1 + 4
    assert not is_safe_borda(election, {3: 1.0}, answers, sure, 0.0)  # 2 votes against 1 + 1: a tie is not relied on
    alone = ["a", "a", "a", None]
    assert is_safe_borda(borda(sure, alone, 1.0), {3: 1.0}, alone, sure, 1.0)  # 3 + 2 + 1 against 4

"""The bandit learns which arm suits which kind of question, and its flow never changes what it knows."""

import random
from dataclasses import replace

import numpy as np
import pytest

from lite.backends.scripted import ScriptedSampler
from lite.params import Chat
from lite.runner import run
from lite.sampler import Question
from lite.strategies.route.bandit import NUM_FEATURES, Bandit, BanditState, features, reward
from lite.strategies.select.greedy import Greedy

EASY = Question(prompt=Chat.ask("Who is it?"))
HARD = Question(prompt=Chat.ask("Ann has 12 pens, Bob has 30; how many do they have?"))


def test_it_sends_each_kind_of_question_to_the_arm_that_was_good_at_it() -> None:
    bandit = Bandit()
    dice = random.Random(0)
    for _ in range(60):
        question = dice.choice((EASY, HARD))
        arm = bandit.arm(question)
        gained = reward(1.0 if arm == 1 or question is EASY else 0.0, 0.5 if arm == 1 else 0.0)
        bandit = replace(bandit, state=bandit.state.learned(question, arm, gained))
    assert (bandit.arm(EASY), bandit.arm(HARD)) == (0, 1)


def test_the_arm_is_that_of_the_formula() -> None:
    dice = np.random.default_rng(0)
    state = BanditState()
    a, b = 0.1 * np.eye(NUM_FEATURES), np.zeros(NUM_FEATURES)
    for _ in range(20):
        question = (EASY, HARD)[int(dice.integers(2))]
        x, value = np.array(features(question)), float(dice.random())
        a, b = a + np.outer(x, x), b + value * x
        state = state.learned(question, 0, value)
    x = np.array(features(EASY))
    expected = np.linalg.solve(a, b) @ x + 0.1 * np.sqrt(x @ np.linalg.solve(a, x))
    assert state.arm(0).bound(features(EASY), 0.1) == pytest.approx(expected)
    assert state.arm(0).pulls == 20


def test_ties_go_to_the_earlier_arm_and_a_flow_changes_nothing() -> None:
    bandit = Bandit(small=Greedy(), large=Greedy(sampler="remote"), others=(Greedy(),))
    before = bandit.state
    local, remote = ScriptedSampler(), ScriptedSampler()
    run(bandit, [EASY, HARD], {"local": local, "remote": remote})
    assert bandit.arm(EASY) == 0
    assert len(local.started[0]) == 2
    assert not remote.started
    assert bandit.state is before


def test_what_only_python_can_set_is_refused_as_text() -> None:
    with pytest.raises(ValueError, match="from Python only"):
        Bandit(others=("x",))  # type: ignore[arg-type]

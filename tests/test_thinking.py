"""A thinking budget: one number by many names, put around the part of a strategy that thinks here."""

import pytest

from lite.backends.scripted import ScriptedSampler
from lite.options import Options, make_question, make_strategy
from lite.params import Chat
from lite.runner import run
from lite.sampler import Question, Request, Traits
from lite.strategies import STRATEGIES, Cascade, Glimp, Greedy, Majority, SelfCertainty, ThinkingBudget
from lite.thinking import NAMES, bounded, thinking_budget
from lite.timings import Timings, automatic


@pytest.mark.parametrize("name", NAMES)
def test_every_name_means_the_same(name: str) -> None:
    assert thinking_budget({name: 100}, 2048) == 100
    assert thinking_budget({name: 0}, 2048) == 0
    assert thinking_budget({name: -1}, 2048) is None
    assert thinking_budget({name: None}, 2048) is None


def test_every_name_is_an_option() -> None:
    assert {*NAMES, "reasoning_effort"} <= Options.__annotations__.keys()


@pytest.mark.parametrize(("effort", "budget"), [("none", 0), ("minimal", 100), ("low", 200), ("high", 800)])
def test_an_effort_is_a_share_of_the_answer(effort: str, budget: int) -> None:
    assert thinking_budget({"reasoning_effort": effort}, 1000) == budget
    assert thinking_budget({"reasoning_effort": effort}, 1) == min(1, budget)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"thinking_budget": -2}, "got -2"),
        ({"thinking_budget": 1.5}, "number of tokens"),
        ({"thinking_budget": True}, "number of tokens"),
        ({"reasoning_effort": "extreme"}, "none, minimal, low, medium, high"),
        ({"thinking_budget": 5, "reasoning_budget": 6}, "differ"),
        ({"thinking_budget": 0, "think": True}, "think is True"),
        ({"reasoning_budget": 5, "think": False}, "think is False"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        thinking_budget(options, 2048)


def test_two_names_may_agree() -> None:
    assert thinking_budget({"thinking_budget": 5, "reasoning_budget": 5, "think": True}, 2048) == 5


def test_nothing_is_no_thought() -> None:
    for options in ({"thinking_budget": 0}, {"reasoning_effort": "none"}, {"think": False}):
        assert make_question("Why?", options).prompt == Chat.ask("Why?", thinking=False)  # type: ignore[arg-type]
        assert make_strategy("majority", options) == Majority(params=make_strategy("majority", {}).params)  # type: ignore
    with pytest.raises(ValueError, match="conversation"):
        make_question(Question(prompt="2+2="), {"thinking_budget": 0})


def test_a_budget_goes_around_the_strategy_whatever_it_is() -> None:
    made = make_strategy("self-certainty", {"thinking_budget": 64, "samples": 3})
    assert isinstance(made, ThinkingBudget)
    assert (made.budget, type(made.inner)) == (64, SelfCertainty)
    assert make_strategy(Majority(samples=2), {"reasoning_budget": 9}) == ThinkingBudget(
        inner=Majority(samples=2), budget=9
    )


def test_a_thinking_budget_strategy_keeps_its_other_settings() -> None:
    made = make_strategy("thinking-budget", {"thinking_budget": 64, "settings": {"grace": "8", "inner": "majority"}})
    assert isinstance(made, ThinkingBudget)
    assert (made.budget, made.grace, type(made.inner)) == (64, 8, Majority)


def test_of_a_router_the_local_part_is_bounded() -> None:
    made = bounded(Cascade(small=Majority()), 50)
    assert made == Cascade(small=ThinkingBudget(inner=Majority(), budget=50))


def test_a_strategy_that_thinks_elsewhere_is_refused() -> None:
    for strategy in (Greedy(sampler="remote"), Glimp()):
        with pytest.raises(ValueError, match="local model"):
            bounded(strategy, 50)


def thinking(request: Request) -> str:
    return f"<think>{'well one two. ' * 12}</think>\n\nThe answer is {'4546'[request.sample % 4]}."


@pytest.mark.parametrize("name", sorted(STRATEGIES.keys() - {"glimp", "reward-guided"}))
def test_a_budget_and_rounds_go_around_every_strategy(name: str) -> None:
    strategy = automatic(make_strategy(name, {"thinking_budget": 9}), Timings({1: 1.0, 2: 1.5, 4: 1.9}))
    samplers = {where: ScriptedSampler(thinking, traits=Traits("<think>", "</think>")) for where in ("local", "remote")}
    (answer,) = run(strategy, [Question(prompt=Chat.ask("How many?"))], samplers)
    assert answer.text or name == "stop-temperature"  # which ends a scripted thought nowhere

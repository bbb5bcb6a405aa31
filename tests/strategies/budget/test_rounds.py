"""Rounds: what a strategy would say with more samples, without drawing the first ones again."""

import pytest

from lite.backends.scripted import ScriptedSampler
from lite.budget import Budget
from lite.params import Chat
from lite.runner import run
from lite.sampler import Answer, Question, Request, Strategy
from lite.strategies import Fractured, Greedy, Majority, NoThinking, Rounds, ShortM, ThinkingBudget
from lite.strategies.parts import with_samples

QUESTION = Question(prompt=Chat.ask("How many?"))


class Counting(ScriptedSampler):
    """Remembers what it was asked."""

    def __init__(self, values: str) -> None:
        super().__init__(lambda request: f"Let me see. It is {values[request.sample % len(values)]}.")
        self.asked: list[Request] = []

    def start(self, requests):  # type: ignore[no-untyped-def]
        self.asked += requests
        super().start(requests)


def answered(strategy: Strategy, sampler: ScriptedSampler, budget: Budget | None = None) -> Answer:
    (answer,) = run(strategy, [QUESTION], {"local": sampler}, budget=budget)
    return answer


def facts(answer: Answer) -> object:
    return answer.value, answer.confidence, [(one.request.sample, one.text, one.votes) for one in answer.candidates]


@pytest.mark.parametrize(("values", "samples"), [("4", 4), ("4445", 16), ("45444444", 8)])
def test_samples_are_drawn_until_the_vote_is_sure(values: str, samples: int) -> None:
    sampler = Counting(values)
    answer = answered(Rounds(inner=Majority(), first=4, most=16), sampler)
    assert [one.sample for one in sampler.asked] == list(range(samples))
    assert answer.cost.branches == samples
    assert facts(answer) == facts(answered(Majority(samples=samples), Counting(values)))


@pytest.mark.parametrize("inner", [NoThinking(inner=Majority()), ThinkingBudget(inner=Majority(), budget=3)])
def test_a_strategy_inside_another_is_given_the_samples(inner: Strategy) -> None:
    sampler = Counting("4546")
    rounds = answered(Rounds(inner=inner, first=2, most=4, threshold=1), sampler)
    assert facts(rounds) == facts(answered(with_samples(inner, 4), Counting("4546")))


def test_they_compose_the_other_way_too() -> None:
    inside = answered(
        ThinkingBudget(inner=Rounds(inner=Majority(), first=2, most=4, threshold=1), budget=50), Counting("4546")
    )
    assert facts(inside) == facts(answered(Majority(samples=4), Counting("4546")))


@pytest.mark.parametrize("inner", [Fractured(samples=2), ShortM(voters=2)])
def test_forks_and_cancels_go_through(inner: Strategy) -> None:
    rounds = answered(Rounds(inner=inner, first=2, most=4, threshold=1), Counting("4546"))
    assert facts(rounds) == facts(answered(with_samples(inner, 4), Counting("4546")))


def test_without_a_confidence_one_round_is_all() -> None:
    assert answered(Rounds(inner=Greedy(), first=2, most=8), Counting("4")).cost.branches == 1


def test_a_budget_ends_it_with_the_best_answer_so_far() -> None:
    answer = answered(Rounds(inner=Majority(), first=2, most=64, threshold=1), Counting("456"), Budget(tokens=40))
    assert answer.value == "4"
    assert answer.cost.drawn_tokens <= 40


@pytest.mark.parametrize(
    ("settings", "words"), [({"first": 0}, "first"), ({"first": 9, "most": 8}, "8"), ({"threshold": 2}, "threshold")]
)
def test_what_makes_no_sense_is_refused(settings: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Rounds(**settings)  # type: ignore[arg-type]

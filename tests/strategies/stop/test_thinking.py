"""Thoughts that are ended or prolonged from outside, in a model's own tags."""

from dataclasses import replace
from typing import Any

import pytest

from lite.backends.scripted import ScriptedSampler, ScriptedToken
from lite.errors import Unsupported
from lite.params import Chat, Prompt, SamplingParams
from lite.runner import Budget, run
from lite.sampler import Question, Request, Traits
from lite.strategies import AnswerConvergence, Majority, StopTemperature, ThinkingBudget, VoteAware
from tests.strategies.stop.scripts import ASKED, THINKING, solved, tokens

OPENED: list[tuple[Prompt, str]] = [
    (ASKED, "<think> "),
    (Chat.ask("How many?", thinking=True), ""),
    ("How many? <think>", ""),
    ("How many?", "<think> "),
]


def thinker(opening: str) -> Any:
    def script(request: Request) -> str:
        return f"{opening}a b. c d e. f</think> 1" if request.parent is None else "It is 7."

    return script


@pytest.mark.parametrize(("prompt", "opening"), OPENED)
def test_a_thought_is_closed_at_its_budget_whoever_opened_it(prompt: Prompt, opening: str) -> None:
    answer = solved(ThinkingBudget(budget=4), thinker(opening), prompt=prompt, traits=THINKING)
    assert (answer.text, answer.value) == ("It is 7.", "7")
    said = "<think> a b. c" if opening else "a b. c d"
    assert answer.candidates[0].text == f"{said}\n</think>\n\nIt is 7."
    assert answer.candidates[0].tokens == 4 + 4


def test_grace_lets_the_sentence_end() -> None:
    for grace, said in ((1, "a b. c d"), (2, "a b. c d e."), (9, "a b. c d e.")):
        answer = solved(ThinkingBudget(budget=3, grace=grace), thinker(""), prompt=OPENED[1][0], traits=THINKING)
        assert answer.candidates[0].text == f"{said}\n</think>\n\nIt is 7."


@pytest.mark.parametrize("prompt", [ASKED, Chat.ask("?", thinking=False), "How many?"])
def test_what_thinks_less_or_not_at_all_is_left_alone(prompt: Prompt) -> None:
    script = "<think> a</think> b c d e 5"
    plain = solved(ThinkingBudget(budget=4), lambda request: script, prompt=prompt, traits=THINKING)
    assert (plain.text, plain.candidates[0].tokens) == ("b c d e 5", 8)
    assert solved(ThinkingBudget(budget=2), lambda request: "a b c d e 5", prompt="?", traits=THINKING).value == "5"
    assert solved(ThinkingBudget(budget=2), lambda request: "a b c d e 5", prompt=prompt).value == "5"
    assert solved(ThinkingBudget(budget=2), lambda request: "", prompt=prompt, traits=THINKING).text == ""


@pytest.mark.parametrize("tag", [("</think>",), ("</", "think", ">"), (" so</th", "ink> it")])
def test_a_tag_may_be_one_token_or_several(tag: tuple[str, ...]) -> None:
    def script(request: Request) -> list[ScriptedToken]:
        return tokens("<think>", " a", *tag, " is", " 3") if request.parent is None else tokens(" 7")

    for budget in range(1, 9):
        answer = solved(ThinkingBudget(budget=budget), script, prompt=ASKED, traits=THINKING)
        assert answer.value == ("7" if budget < 2 + len(tag) else "3"), budget
        assert answer.candidates[0].text.count("</") == 1


def test_a_cue_and_what_is_left_of_max_tokens_follow_the_cut() -> None:
    params = SamplingParams(max_tokens=6)
    strategy = ThinkingBudget(inner=Majority(samples=2, params=params), budget=4, cue="Final Answer:")

    def script(request: Request) -> str:
        return "<think> a b c d e f" if request.parent is None else " 1 2 3"

    answer = solved(strategy, script, prompt=ASKED, traits=THINKING)
    assert (answer.text, answer.value) == ("Final Answer: 1 2", "1 2")
    assert [candidate.tokens for candidate in answer.candidates] == [6, 6]
    assert all(candidate.request.parent is None for candidate in answer.candidates)


def test_a_thought_that_ends_too_soon_is_prolonged() -> None:
    def script(request: Request) -> str:
        if request.parent is None:
            return "<think> a b</think> 1"
        return " c d</think> 2" if request.prefix == "Wait" else " 3"

    strategy = ThinkingBudget(budget=20, minimum=5, extensions=3)
    answer = solved(strategy, script, prompt=ASKED, traits=THINKING)
    assert answer.candidates[0].text == "<think> aWait cWait cWait c d</think> 2"
    once = solved(replace(strategy, extensions=1), script, prompt=ASKED, traits=THINKING)
    assert (once.candidates[0].text, once.value) == ("<think> aWait c d</think> 2", "2")
    off = solved(replace(strategy, extensions=0), script, prompt=ASKED, traits=THINKING)
    assert off.value == "1"


def test_a_thought_that_gives_up_is_prolonged_and_then_cut() -> None:
    def script(request: Request) -> str:
        if request.parent is None:
            return "<think> a b"
        return " c d e f g" if request.prefix == "Wait" else "It is 7."

    strategy = ThinkingBudget(budget=6, minimum=4, extensions=1)
    answer = solved(strategy, script, prompt=ASKED, traits=THINKING)
    assert answer.candidates[0].text == "<think> a bWait c d e\n</think>\n\nIt is 7."


def test_strategies_that_stop_and_probe_work_under_a_budget() -> None:
    def script(request: Request) -> str:
        lengths = (0, 1, 3, 9, 30)
        if request.parent is None:
            return "<think> " + "a " * 20 + "</think> 1"
        return "b. " * lengths[request.sample] + "It is 7."

    answer = solved(ThinkingBudget(inner=VoteAware(samples=5, wave=5), budget=3), script, prompt=ASKED, traits=THINKING)
    assert answer.value == "7"
    assert [candidate.tokens for candidate in answer.candidates] == [7, 8, 10, 10, 10]

    def probed(request: Request) -> str:
        if request.parent is None:
            return "<think> a. b. c. d. e. f. g. h."
        return " 7." if request.prefix.endswith("is") else "So. It. Is. 8."

    strategy = ThinkingBudget(inner=AnswerConvergence(agreeing=3), budget=9)
    assert solved(strategy, probed, prompt=ASKED, traits=THINKING).text == "The answer is 7."
    strategy = ThinkingBudget(inner=AnswerConvergence(agreeing=3), budget=2)
    assert solved(strategy, probed, prompt=ASKED, traits=THINKING).value == "8"


@pytest.mark.parametrize("spent", [1, 4, 5, 7])
def test_a_spent_budget_leaves_an_answer(spent: int) -> None:
    solved(ThinkingBudget(budget=4), thinker(""), prompt=ASKED, traits=THINKING, budget=Budget(tokens=spent))


def test_the_end_of_a_thought_is_biased_and_what_follows_is_not() -> None:
    sampler = ScriptedSampler(
        lambda request: "<think> a b</think> 1" if request.parent is None else " is 7", traits=THINKING, chunk_size=3
    )
    params = SamplingParams(max_tokens=20, stop=("!",))
    strategy = StopTemperature(inner=Majority(samples=2, params=params), bias=2.5)
    (answer,) = run(strategy, [Question(prompt=ASKED)], {"local": sampler})
    begun = [request for batch in sampler.started for request in batch]
    asked, thoughts, answers = begun[0], begun[1:3], begun[3:]
    assert (asked.prefix, asked.score) == ("</think>", True)
    assert all([bias for _, bias in request.params.logit_bias] == [2.5] for request in thoughts)
    assert all(not request.params.logit_bias and request.params.stop == ("!",) for request in answers)
    assert answer.candidates[0].text == "<think> a b</think> is 7" or len(answers) == 0


def test_without_a_thought_there_is_nothing_to_bias() -> None:
    for prompt, traits in (("?", Traits()), (Chat.ask("?", thinking=False), THINKING)):
        sampler = ScriptedSampler(lambda request: "It is 7.", traits=traits)
        (answer,) = run(StopTemperature(), [Question(prompt=prompt)], {"local": sampler})
        assert answer.value == "7"
        assert not sampler.started[0][0].params.logit_bias


def test_a_tag_of_several_tokens_cannot_be_biased() -> None:
    sampler = ScriptedSampler(traits=Traits("<t>", "end of thought"))
    with pytest.raises(Unsupported, match="one token"):
        run(StopTemperature(), [Question(prompt="?")], {"local": sampler})


@pytest.mark.parametrize(
    "settings",
    [
        {"budget": 0},
        {"grace": -1},
        {"minimum": -1},
        {"extensions": -1},
        {"minimum": 9999},
        {"extend": "", "extensions": 1},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        ThinkingBudget(**settings)
    with pytest.raises(ValueError, match="bias"):
        StopTemperature(bias=float("nan"))

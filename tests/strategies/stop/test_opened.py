"""Who opens a thought: the prompt, the model, or nobody; told by the traits where the template is known."""

from dataclasses import replace

import pytest

from lite.params import Chat, SamplingParams
from lite.sampler import Question, Request, Traits
from lite.strategies.select.sample import Sample
from lite.strategies.stop.thinking_budget import ThinkingBudget
from lite.strategies.stop.thought import in_thought, thought_closing
from tests.strategies.stop.scripts import solved

TAGS = Traits("[THINK]", "[/THINK]")
BY_PROMPT, BY_MODEL = replace(TAGS, think_opened=True), replace(TAGS, think_opened=False)
ASKED = Chat.ask("?")
SKIPPED = Chat.ask("?", thinking=False)


@pytest.mark.parametrize(
    ("traits", "prompt", "text", "thinks"),
    [
        (BY_PROMPT, ASKED, "", True),
        (BY_PROMPT, ASKED, "hm", True),
        (BY_PROMPT, ASKED, "hm[/THINK]yes", False),
        (BY_PROMPT, SKIPPED, "yes", False),
        (BY_MODEL, ASKED, "", True),
        (BY_MODEL, ASKED, "\n[THI", True),
        (BY_MODEL, ASKED, "[THINK]hm", True),
        (BY_MODEL, ASKED, "[THINK]hm[/THINK]yes", False),
        (BY_MODEL, ASKED, "The answer is 4.", False),
        (BY_MODEL, SKIPPED, "", False),
        (TAGS, ASKED, "hm", True),
        (Traits(), ASKED, "hm", False),
    ],
)
def test_whether_a_text_is_a_thought(traits: Traits, prompt: Chat, text: str, thinks: bool) -> None:
    question = Question(prompt=prompt, models={"local": traits})
    assert in_thought(question, Request(prompt), text) is thinks
    assert bool(thought_closing(question, Request(prompt), text)) is thinks


@pytest.mark.parametrize(
    ("traits", "script", "text"),
    [
        (BY_PROMPT, "a b c d e f", "[/THINK]"),
        (BY_MODEL, "[THINK] b c d e f", "[/THINK]"),
        (BY_MODEL, "The answer is simply 5 or 6", "simply 5 or 6"),
        (TAGS, "a b c d e f", "[/THINK]"),
    ],
)
def test_a_budget_closes_a_thought_and_leaves_an_answer_alone(traits: Traits, script: str, text: str) -> None:
    """An answer that is longer than the budget is no thought where the model opens its thoughts itself."""
    answer = solved(
        ThinkingBudget(budget=4), lambda request: "5" if request.prefix else script, prompt=ASKED, traits=traits
    )
    assert text in answer.candidates[0].text


def test_a_thought_that_the_prompt_opened_and_a_limit_cut_holds_no_answer() -> None:
    strategy = Sample(params=SamplingParams(max_tokens=4))
    for traits, value in ((BY_PROMPT, None), (BY_MODEL, "6"), (TAGS, "6")):
        assert solved(strategy, lambda request: "maybe 5 or 6 or 7", prompt=ASKED, traits=traits).value == value

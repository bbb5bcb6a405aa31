from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from lite.backends.scripted import ScriptedSampler
from lite.ledger import Ledger
from lite.params import Chat
from lite.runner import run
from lite.sampler import Ability, Answer, Cancel, Chunk, Finished, Flow, Question, Request, Traits
from lite.strategies import Majority, NoThinking, SelfCertainty
from tests.strategies.reading import requests

TRAITS = Traits(think_open="<think>", think_close="</think>")
CLOSED = "<think>\n\n</think>\n\n"


def test_a_chat_is_rendered_with_thinking_off() -> None:
    question = Question(prompt=Chat.ask("?", thinking=True), models={"local": TRAITS})
    asked = requests(NoThinking(inner=Majority(samples=2))(question))
    assert [request.prompt for request in asked] == [Chat.ask("?", thinking=False)] * 2
    assert {request.prefix for request in asked} == {""}


def test_any_other_prompt_is_followed_by_an_empty_thought_in_the_models_tags() -> None:
    for prompt in ("Q: ?", (1, 2, 3)):
        asked = requests(NoThinking(inner=Majority(samples=2))(Question(prompt=prompt, models={"local": TRAITS})))
        assert [(request.prompt, request.prefix, request.sample) for request in asked] == [
            (prompt, CLOSED, 0),
            (prompt, CLOSED, 1),
        ]


def test_a_model_without_a_thinking_mode_answers_as_it_does() -> None:
    for models in ({}, {"local": Traits()}):
        assert requests(NoThinking()(Question(prompt="Q: ?", models=models)))[0].prefix == ""


def test_it_decides_and_needs_as_the_inner_strategy_does() -> None:
    assert NoThinking().needs == SelfCertainty().needs
    assert NoThinking(inner=Majority()).needs == Majority().needs
    sampler = ScriptedSampler(
        lambda request: f"The answer is {request.sample % 2} {len(request.prefix)}.", traits=TRAITS
    )
    for prompt, length in ((Chat.ask("?"), 0), ("Q: ?", len(CLOSED))):
        (answer,) = run(NoThinking(inner=Majority(samples=3)), [Question(prompt=prompt)], {"local": sampler})
        assert answer.text == f"The answer is 0 {length}."
        assert {candidate.request for candidate in answer.candidates} == set(sampler.started[-1])


@dataclass(frozen=True)
class Forking:
    """Draws a branch with a prefix, forks it at once, stops it, and tells what it was sent."""

    needs: Mapping[str, frozenset[Ability]]

    def __call__(self, question: Question) -> Flow:
        root = Request(question.prompt, prefix="So")
        events = yield [root]
        assert [event.request for event in events] == [root]
        fork = Request(question.prompt, prefix="Wait", parent=root, at=1)
        events = yield [fork, Cancel(root, 1)]
        assert [event.request for event in events] == [root, fork]
        return Answer(text="", value=None, confidence=None, candidates=())


def test_forks_and_cancels_pass_through_under_the_requests_that_were_drawn() -> None:
    flow = NoThinking(inner=Forking({}))(Question(prompt="Q: ?", models={"local": TRAITS}))
    (root,) = requests(flow)
    assert root.prefix == CLOSED + "So"
    commands: Sequence[Request | Cancel] = flow.send([Chunk(root, 0, (1,), ("a",))])
    fork, cancel = commands
    assert isinstance(fork, Request)
    assert (fork.parent, fork.prefix) == (root, "Wait")
    assert cancel == Cancel(root, 1)
    ended = [Finished(request, "cancelled", Ledger()) for request in (root, Request("a stranger"), fork)]
    with pytest.raises(StopIteration) as stop:
        flow.send(ended)
    assert isinstance(stop.value.value, Answer)

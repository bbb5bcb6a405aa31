"""What is compared, as people write it."""

import pytest

from lite.errors import UsageError
from lite.evaluate.entries import make_entries, make_entry
from lite.evaluate.items import Item
from lite.params import Chat
from lite.strategies import Greedy, Majority, SelfCertainty
from tests.evaluate.scripted import OPTIONS


def test_settings_options_and_sampling_are_told_apart() -> None:
    entry = make_entry("self-certainty:power=0.5,samples=3,temperature=0.7,think=no", OPTIONS)
    assert isinstance(entry.strategy, SelfCertainty)
    assert (entry.strategy.power, entry.strategy.samples, entry.strategy.params.temperature) == (0.5, 3, 0.7)
    assert entry.strategy.params.max_tokens == 40
    assert entry.think is False


def test_borda_is_short_for_self_certainty() -> None:
    short, long = make_entry("borda:p=0.5", OPTIONS), make_entry("self-certainty:power=0.5", OPTIONS)
    assert short.strategy == long.strategy
    assert short.config == long.config


def test_an_entry_asks_in_its_own_way() -> None:
    item = Item(id="0", question="Which?", answer="x", choices=("x", "y"))
    question = make_entry("greedy:think=yes", OPTIONS).question(item)
    assert isinstance(question.prompt, Chat)
    assert question.prompt.thinking is True
    assert question.prompt.messages[-1].content == "Which?\n(A) x\n(B) y"
    assert question.choices == ("x", "y")


def test_the_config_changes_with_whatever_changes_answers() -> None:
    specs = ("majority", "majority:samples=5", "majority:seed=1", "majority:think=no", "greedy")
    assert len({make_entry(spec, OPTIONS).config for spec in specs}) == len(specs)


def test_the_same_entry_takes_part_once() -> None:
    found = make_entries(["greedy", "majority", "greedy"], OPTIONS)
    assert [type(entry.strategy) for entry in found] == [Greedy, Majority]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("majorty", "Did you mean 'majority'"),
        ("majority:samples", "not SETTING=VALUE"),
        ("majority:samples=x", "samples must be int"),
        ("majority:samples=0", "at least 1"),
        ("majority:think=maybe", "yes or no"),
        ("majority:power=1", "no setting 'power'"),
        ("greedy:top_p=7", "top_p must be"),
    ],
)
def test_a_bad_entry_is_refused_in_one_line(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        make_entry(spec, OPTIONS)
    assert spec in str(caught.value)

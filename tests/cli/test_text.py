"""What people are shown: thoughts told from answers, and tables."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lite.cli.table import clip, human_bytes, table
from lite.cli.thought import ThoughtFilter, split_thought
from lite.sampler import Traits

TAGS = Traits("<think>", "</think>")


def in_pieces(text: str, cuts: list[int], traits: Traits = TAGS) -> tuple[str, str]:
    told = ThoughtFilter(traits)
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    pieces = [told.push(text[start:end]) for start, end in pairwise(edges)]
    return "".join(thought for thought, _ in pieces), "".join(answer for _, answer in pieces)


@given(st.lists(st.integers(0, 200)))
@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("<think>\nhm, 1 < 2 </thin\n</think>\n\nThe answer is 3.", "\nhm, 1 < 2 </thin\n", "The answer is 3."),
        ("  <think></think>4", "", "4"),
        ("No thought: <think> is a word.", "", "No thought: <think> is a word."),
        ("<thin", "", ""),
        ("<thirst is 5", "", "<thirst is 5"),
        ("", "", ""),
    ],
)
def test_a_stream_is_split_alike_however_it_is_cut(text: str, thought: str, answer: str, cuts: list[int]) -> None:
    assert in_pieces(text, cuts) == (thought, answer)


def test_a_model_without_tags_has_no_thought() -> None:
    assert in_pieces("<think>\nyes", [3], Traits()) == ("", "<think>\nyes")
    assert split_thought(" yes ", Traits()) == ("", "yes")


def test_a_whole_text_is_split_at_its_last_tag() -> None:
    assert split_thought("<think>\na\n</think>\n\nb", TAGS) == ("a", "b")
    assert split_thought("a</think>b", TAGS) == ("a", "b")
    assert split_thought("<think>a", TAGS) == ("", "<think>a")


def test_a_table_lines_up_wide_characters_and_numbers() -> None:
    assert table(("n", "name"), [("1", "数"), ("10", "a")], right=frozenset((0,))) == " n  name\n 1  数\n10  a"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\n\tb", "a b"), ("\x1b[31mred", "[31mred"), ("数" * 9, "数数数..."), ("123456789", "123456789")],
)
def test_clipped_text_is_one_harmless_line(text: str, shown: str) -> None:
    assert clip(text, 9) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 20, "1.0 MiB"), (5 << 40, "5120.0 GiB")]
)
def test_bytes_are_told_in_the_largest_unit(count: int, shown: str) -> None:
    assert human_bytes(count) == shown

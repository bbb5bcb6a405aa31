"""Text from tokens: the same whatever is taken when, and final once it is given."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lite.engine.text import TokenTexts, open_character

PIECES = st.lists(
    st.sampled_from((b"a", b"b", b"ab", b"", b"\xc3", b"\xa9", b"\xa9b", b"\xf0\x9f", b"\x99\x82", b"\xff"))
)
STOPS = st.lists(st.sampled_from(("ab", "aab", "bé", "\ufffda", "ba\ufffd")), max_size=3)


def texts_of(pieces: Sequence[bytes], stops: Sequence[str], taken_after: Sequence[bool]) -> tuple[list[str], bool]:
    texts, found = TokenTexts(stops), False
    given_texts: list[str] = []
    for piece, take in zip(pieces, taken_after, strict=True):
        found = texts.push(piece)
        if take:
            given_texts += texts.take()
        if found:
            break
    if not found:
        texts.end()
    return [*given_texts, *texts.take()], found


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(PIECES, STOPS, st.data())
def test_it_does_not_matter_when_texts_are_taken(pieces: list[bytes], stops: list[str], data: st.DataObject) -> None:
    taken_after = data.draw(st.lists(st.booleans(), min_size=len(pieces), max_size=len(pieces)))
    texts, found = texts_of(pieces, stops, taken_after)
    assert (texts, found) == texts_of(pieces, stops, [False] * len(pieces))
    whole = b"".join(pieces[: len(texts)]).decode("utf-8", "replace")
    if found:
        assert whole.startswith("".join(texts))
    else:
        assert len(texts) == len(pieces)
        assert "".join(texts) == (whole if any(pieces) else "")


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(PIECES, STOPS)
def test_no_stop_string_is_ever_given(pieces: list[bytes], stops: list[str]) -> None:
    texts = TokenTexts(stops)
    text = ""
    for piece in pieces:
        if texts.push(piece):
            break
        text += "".join(texts.take())
        assert not any(stop in text for stop in stops)
    assert not any(stop in text + "".join(texts.take()) for stop in stops)


def test_what_can_belong_to_no_stop_string_is_given_at_once() -> None:
    texts = TokenTexts(("abc",))
    assert [texts.push(b"x"), texts.take()] == [False, ("x",)]
    assert [texts.push(b"xa"), texts.take()] == [False, ()]
    assert [texts.push(b"a"), texts.take()] == [False, ("xa",)]
    assert [texts.push(b"bcd"), texts.take()] == [True, ("", "")]


def test_a_token_waits_only_for_its_own_character() -> None:
    texts = TokenTexts()
    for piece in (b"x", b"\xe2"):
        texts.push(piece)
    assert texts.take() == ("x",)
    texts.push(b"")
    assert texts.take() == ()
    texts.push(b"a\xc3")
    assert texts.take() == ("", "")
    texts.end()
    assert texts.take() == ("\ufffda\ufffd",)


@pytest.mark.parametrize(
    ("pieces", "begun"),
    [
        ([], b""),
        ([b"ab", b"\xc3\xa9"], b""),
        ([b"ab", b"\xf0\x9f", b"", b"\x99"], b"\xf0\x9f\x99"),
        ([b"\xe2", b"\x86", b"\x92", b"\xc3"], b"\xc3"),
        ([b"\xa9"], b""),
    ],
)
def test_the_character_that_a_text_has_begun(pieces: list[bytes], begun: bytes) -> None:
    assert open_character(range(len(pieces)), pieces.__getitem__) == begun


def test_a_begun_character_is_completed_by_the_first_tokens() -> None:
    texts = TokenTexts((), b"\xf0\x9f")
    texts.push(b"\x99")
    assert texts.take() == ()
    texts.push(b"\x82!")
    assert texts.take() == ("", "🙂!")

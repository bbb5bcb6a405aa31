"""The table-driven backend: it keeps the interface's rules, and tells who breaks them."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from lite.backends.base import Backend, Row, Statistics
from lite.backends.table import TableBackend, hashed_logits
from lite.backends.table_codec import ByteCodec
from lite.errors import BackendError
from lite.params import Chat, Message, SamplingParams
from lite.sampling import draw, statistics

VOCAB = 32
END = frozenset((0,))
TABLE = hashed_logits(VOCAB)


def table(**settings: int) -> TableBackend:
    return TableBackend(TABLE, vocab_size=VOCAB, **settings)  # type: ignore[arg-type]


def row(slot: int, context: Sequence[int], drawn: int = 0, max_new: int = 99, **params: float) -> Row:
    """A row whose last `drawn` tokens were drawn."""
    position = len(context) - 1
    settings = SamplingParams(**params)  # type: ignore[arg-type]
    return Row(slot, position, context[-1], (1, 2), drawn, settings, context, len(context) - drawn, max_new)


def drawn_alone(context: Sequence[int], count: int) -> list[int]:
    """`count` tokens, or up to the end token, without any backend."""
    ids: list[int] = []
    while len(ids) < count and not END.intersection(ids):
        tokens = [*context, *ids]
        ids += draw(TABLE(tokens)[None], [row(0, tokens, len(ids), frequency_penalty=0.5)]).ids[0].tolist()
    return ids


@pytest.mark.parametrize("tokens_per_step", [1, 3, 8])
def test_it_draws_what_its_table_says_however_many_tokens_a_step(tokens_per_step: int) -> None:
    backend = table(tokens_per_step=tokens_per_step)
    backend.extend(0, 0, (5, 6))
    backend.fork(0, 3, 1)
    contexts = {0: [5, 6, 7], 3: [5, 9]}
    expected = {slot: drawn_alone(context, 7) for slot, context in contexts.items()}
    ids: dict[int, list[int]] = {slot: [] for slot in contexts}
    while live := [slot for slot in ids if len(ids[slot]) < 7 and not END.intersection(ids[slot])]:
        rows = [
            row(slot, contexts[slot] + ids[slot], len(ids[slot]), 7 - len(ids[slot]), frequency_penalty=0.5)
            for slot in live
        ]
        found = backend.step(rows, END)
        assert found.ids.shape == found.margin.shape == found.statistics.logprob.shape == (len(live), tokens_per_step)
        for slot, tokens, count in zip(live, found.ids.tolist(), found.counts, strict=True):
            ids[slot] += tokens[:count]
    assert ids == expected


def test_a_row_draws_nothing_after_its_end_and_no_more_than_it_may_gain() -> None:
    backend = table(tokens_per_step=8)
    sure = ((0, 99.0),)
    ends = Row(0, 0, 1, (1, 2), 0, SamplingParams(logit_bias=sure), [1], 1, 99)
    full = Row(1, 0, 1, (1, 2), 0, SamplingParams(logit_bias=((0, -99.0),), top_logprobs=2), [1], 1, 3)
    found = backend.step([ends, full], END)
    assert found.counts.tolist() == [1, 3]
    assert found.statistics.top_ids.shape == (2, 8, 2)


def test_scoring_gives_the_statistics_of_each_target() -> None:
    found = table().extend(0, 0, (1, 2, 3), (2, 3, 4), top=2)
    expected = statistics(np.stack([TABLE((1,)), TABLE((1, 2)), TABLE((1, 2, 3))]), np.array((2, 3, 4)), 2)
    assert found is not None
    for name in Statistics.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_forbidden_tokens_are_never_drawn() -> None:
    backend = TableBackend(TABLE, vocab_size=VOCAB, tokens_per_step=50, forbidden=range(2, VOCAB))
    found = backend.step([row(0, (5,), temperature=5.0)], frozenset())
    assert set(found.ids[0].tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda b: b.extend(0, 3, (1,)), "slot 0 holds 2 tokens, 3 were asked for"),
        (lambda b: b.extend(1, 1, (1,)), "slot 1 is empty, 1 tokens of it were asked for"),
        (lambda b: b.extend(9, 0, (1,)), "there is no slot 9, but 4 from 0 on"),
        (lambda b: b.extend(0, 2, [1] * 127), "slot 0 is extended past the context"),
        (lambda b: b.extend(0, 0, (VOCAB,)), "tokens out of the vocabulary"),
        (lambda b: b.extend(0, 0, (1,), (1, 2)), "2 targets for 1 ids"),
        (lambda b: b.fork(0, 1, 3), "slot 0 holds 2 tokens, 3 were asked for"),
        (lambda b: (b.release(0), b.fork(0, 1, 1)), "slot 0 is empty"),
        (lambda b: b.step([], END), "a step has at least one row"),
        (lambda b: b.step([row(0, (1, 2, 3))] * 2, END), "each its own slot"),
        (lambda b: b.step([row(0, (1, 2, 3, 4))], END), "slot 0 holds 2 tokens, 3 were asked for"),
        (lambda b: b.step([row(0, (1, 2))], END), "slot 0 holds 2 tokens, fed at 1"),
        (lambda b: b.step([row(0, (7, 7, 3))], END), "holds another context than the row says"),
        (lambda b: b.step([row(0, (1, 2, 3), max_new=0)], END), "a row that may gain nothing"),
        (lambda b: (b.close(), b.extend(0, 0, (1,))), "the backend was closed"),
    ],
)
def test_who_breaks_the_rules_is_told(misuse: Callable[[TableBackend], object], message: str) -> None:
    backend = table()
    backend.extend(0, 0, (1, 2))
    with pytest.raises(AssertionError, match=message):
        misuse(backend)


def test_an_extend_without_tokens_only_forgets() -> None:
    backend = table()
    backend.extend(0, 0, (1, 2, 3))
    backend.extend(0, 1, ())
    backend.step([row(0, (1, 9))], END)


def test_logits_that_are_not_finite_are_an_error() -> None:
    backend = TableBackend(lambda tokens: np.full(VOCAB, np.inf, np.float32), vocab_size=VOCAB)
    with pytest.raises(BackendError, match="non-finite"):
        backend.step([row(0, (1,))], END)


def test_hashed_logits_depend_on_the_last_tokens_only_where_asked() -> None:
    short = hashed_logits(VOCAB, order=1)
    assert (short((1, 2)) == short((3, 2))).all()
    assert (TABLE((1, 2)) != TABLE((3, 2))).any()
    assert (hashed_logits(VOCAB, seed=1)((1, 2)) != TABLE((1, 2))).any()


def test_a_table_is_a_backend() -> None:
    backend: Backend = table(num_slots=2, context_length=9)
    assert (backend.spec.engine, backend.spec.num_slots, backend.spec.context_length) == ("table", 2, 9)
    backend.close()
    backend.close()


# The codec


def test_bytes_come_back_from_their_tokens() -> None:
    codec = ByteCodec()
    text = "a→é</think>b"
    ids = codec.encode(text)
    assert ids == [*"a→é".encode(), 259, *b"b"]
    assert b"".join(map(codec.token_bytes, ids)).decode() == text


def test_a_chat_is_rendered_with_its_turns_and_a_closed_thought() -> None:
    codec = ByteCodec()
    chat = Chat((Message("system", "s"), Message("user", "u")), thinking=False)
    assert codec.encode_prompt(chat) == codec.encode(
        "<turn>system\ns<end><turn>user\nu<end><turn>assistant\n<think>\n\n</think>\n\n"
    )
    assert codec.encode_prompt((1, 2)) == (1, 2)


def test_words_are_drawn_but_never_encoded() -> None:
    codec = ByteCodec((b"ab",))
    assert codec.token_bytes(codec.vocab_size - 1) == b"ab"
    assert codec.encode("ab") == [*b"ab"]
    assert codec.end_ids.isdisjoint(codec.forbidden_ids)
    assert max(codec.forbidden_ids) == codec.vocab_size - 2

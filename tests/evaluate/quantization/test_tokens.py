"""Two models on the same tokens, against the definitions."""

from collections.abc import Callable, Generator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from lite.backends.base import BackendSpec, Row
from lite.backends.host import HostBackend
from lite.backends.table import TableBackend, hashed_logits
from lite.errors import Unsupported, UsageError
from lite.evaluate.quantization.documents import Document
from lite.evaluate.quantization.tokens import Compared, Reader, compare, divergence

VOCABULARY = 40
Logits = NDArray[np.float32]


class Host(HostBackend):
    """Logits are a function of the last tokens; what it computes is counted."""

    def __init__(self, seed: int, vocab_size: int = VOCABULARY) -> None:
        super().__init__(
            BackendSpec(engine="test", format="f32", vocab_size=vocab_size, num_slots=1, context_length=999)
        )
        self._function = hashed_logits(vocab_size, seed=seed, order=3)
        self._tokens: list[int] = []
        self.written = 0

    def next_logits(self, rows: Sequence[Row]) -> Logits:
        raise NotImplementedError

    def write(self, slot: int, start: int, ids: Sequence[int], *, scored: bool) -> Logits | None:
        assert start <= len(self._tokens)
        assert len(ids) <= 128
        self.written += len(ids)
        self._tokens = [*self._tokens[:start], *ids]
        if not scored:
            return None
        return np.stack([self.after(self._tokens[: start + i + 1]) for i in range(len(ids))])

    def after(self, tokens: Sequence[int]) -> Logits:
        return self._function(tokens)

    def fork(self, source: int, target: int, length: int) -> None:
        raise NotImplementedError

    def release(self, slot: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


def documents(*lengths: tuple[int, int]) -> list[Document]:
    dice = np.random.default_rng(1)
    tokens = [dice.integers(0, VOCABULARY, context + count).tolist() for context, count in lengths]
    return [
        Document(tuple(ids[:context]), tuple(ids[context:]), 7 * i)
        for i, (ids, (context, _)) in enumerate(zip(tokens, lengths, strict=True))
    ]


def result(steps: Generator[int, None, Compared]) -> Compared:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Compared = end.value
            return found


def log_softmax(logits: Logits) -> NDArray[np.float64]:
    values = logits.astype(np.float64)
    return values - np.logaddexp.reduce(values)


def each(one: Host, found: Sequence[Document], of: Callable[[NDArray[np.float64], int], float]) -> list[float]:
    return [
        of(log_softmax(one.after([*document.context, *document.ids[:i]])), token)
        for document in found
        for i, token in enumerate(document.ids)
    ]


def test_every_scored_token_is_told_by_the_distribution_it_follows() -> None:
    first, second, asked = Host(1), Host(2), documents((1, 5), (9, 300), (200, 2))
    found = result(compare(Reader(first), Reader(second), asked))
    assert found.reference.logprob == pytest.approx(each(first, asked, lambda p, token: p[token]), abs=1e-5)
    assert found.candidate.entropy == pytest.approx(each(second, asked, lambda p, _: -(np.exp(p) @ p)), abs=1e-5)
    assert found.candidate.certainty == pytest.approx(
        each(second, asked, lambda p, _: -p.mean() - np.log(VOCABULARY)), abs=1e-5
    )
    best = zip(each(first, asked, lambda p, _: p.argmax()), each(second, asked, lambda p, _: p.argmax()), strict=True)
    assert found.same_best.tolist() == [float(a == b) for a, b in best]
    assert np.bincount(found.document).tolist() == np.bincount(found.cluster).tolist() == [5, 300, 2]


def test_a_model_is_no_way_from_itself() -> None:
    found = result(compare(Reader(Host(1)), Reader(Host(1)), documents((3, 20))))
    assert found.divergence.max() == 0
    assert found.same_best.min() == 1


def test_samples_of_one_question_share_its_tokens() -> None:
    host, context = Host(1), tuple(range(30))
    asked = [Document(context, (1, 2, 3), 0), Document(context, (4, 5), 0)]
    found = result(compare(Reader(host), Reader(Host(2)), asked))
    assert host.written == 29 + 3 + 2
    assert found.reference.logprob == pytest.approx(each(host, asked, lambda p, token: p[token]), abs=1e-5)
    assert set(found.cluster.tolist()) == {0}


def test_what_is_kept_is_not_computed_again() -> None:
    host, asked = Host(1), documents((3, 10), (5, 200))
    reader = Reader(host, most_kept=4 * VOCABULARY * 205)
    first = result(compare(reader, Reader(Host(2)), asked))
    computed = host.written
    second = result(compare(reader, Reader(Host(2)), asked))
    assert host.written == computed + 200  # there was no room for the second one beside the first
    assert second.divergence.tolist() == first.divergence.tolist()


def test_divergence_is_that_of_the_definition_and_a_masked_token_is_none() -> None:
    dice = np.random.default_rng(3)
    first, second = (dice.normal(size=(6, 9)).astype(np.float32) for _ in range(2))
    first[:, 4] = second[:, 4] = -np.inf
    kept = [i for i in range(9) if i != 4]
    expected = [
        float(np.exp(p) @ (p - q))
        for p, q in ((log_softmax(a[kept]), log_softmax(b[kept])) for a, b in zip(first, second, strict=True))
    ]
    assert divergence(first, second) == pytest.approx(expected)


def test_a_tiny_divergence_is_not_lost_in_rounding() -> None:
    logits = np.linspace(-5, 5, 1000, dtype=np.float32)[None]
    moved = logits.copy()
    moved[0, 500] += np.float32(1e-3)
    p = float(np.exp(log_softmax(logits[0])[500]))
    assert divergence(logits, moved)[0] == pytest.approx(p * (1 - p) * 1e-6 / 2, rel=1e-2)


def test_two_vocabularies_are_refused() -> None:
    with pytest.raises(UsageError, match="of 40 and 41 tokens"):
        result(compare(Reader(Host(1)), Reader(Host(1, 41)), documents((1, 2))))


def test_an_engine_that_shows_no_logits_is_refused() -> None:
    with pytest.raises(Unsupported, match="the engine table shows no logits"):
        Reader(TableBackend(hashed_logits(8), vocab_size=8))

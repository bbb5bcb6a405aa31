"""Passes over logits equal their plain definitions, and a row's bits do not depend on the rows beside it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lite.logits import best, fold, measure, parts, sums

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 3000), st.integers(0, 2**32 - 1))


def some_logits(shape, levels=None) -> np.ndarray:
    rows, length, seed = shape
    values = np.random.default_rng(seed).normal(0, 3, (rows, length))
    return (values if levels is None else np.round(values * levels)).astype(np.float32)


def best_of(logits: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    ids = np.empty((len(logits), count), dtype=np.int64)
    values = np.empty((len(logits), count), dtype=np.float32)
    best(logits, ids, values)
    return ids, values


@settings(max_examples=60, deadline=None)
@given(SHAPES, st.sampled_from([None, 1, 4]), st.integers(1, 300))
def test_best_tokens_are_those_of_a_stable_sort(shape, levels, count):
    logits = some_logits(shape, levels)
    count = min(count, logits.shape[1])
    ids, values = best_of(logits, count)
    expected = np.argsort(-logits, axis=1, kind="stable")[:, :count]
    assert (ids == expected).all()
    assert (values == np.take_along_axis(logits, expected, axis=1)).all()


def test_best_tokens_leave_out_what_is_masked():
    logits = np.full((2, 700), -np.inf, dtype=np.float32)
    logits[0, [5, 699]] = 1, 2
    logits[1, [0, 1, 2]] = -7, np.finfo(np.float32).min, -5
    ids, values = best_of(logits, 3)
    assert ids.tolist() == [[699, 5, -1], [2, 0, -1]]
    assert values.tolist() == [[2, 1, -np.inf], [-5, -7, -np.inf]]


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.integers(1, 600))
def test_lanes_hold_every_so_manieth_token(shape, lanes):
    logits = some_logits(shape)
    folded = fold(logits, lanes)
    expected = [logits[:, lane::lanes].sum(axis=1, dtype=np.float64) for lane in range(folded.shape[1])]
    assert np.allclose(folded, np.stack(expected, axis=1), atol=1e-3)
    assert np.allclose(sums(logits), logits.sum(axis=1, dtype=np.float64), atol=1e-3)


@pytest.mark.parametrize("vocab_size", [7, 1000, 40_000, 151_936])
def test_moments_have_the_same_bits_alone_and_in_company(vocab_size):
    logits = some_logits((5, vocab_size, 1))

    def moments(rows: np.ndarray) -> list[bytes]:
        found = [measure(rows[part], *scratch) for part, *scratch in parts(rows)]
        return [column.tobytes() for column in np.concatenate(found, axis=1).T]

    together = moments(logits)
    assert together == [moments(row[None])[0] for row in logits]
    assert together[::-1] == moments(logits[::-1])


def test_parts_cover_all_rows_once():
    for num_rows, vocab_size in ((1, 10), (5, 10), (300, 1000), (7, 40_000), (3, 200_000)):
        logits = np.empty((num_rows, vocab_size), dtype=np.float32)
        seen = []
        for part, one, other in parts(logits):
            assert one.shape == other.shape == logits[part].shape
            assert not np.shares_memory(one, other)
            seen += range(part.start, part.stop)
        assert seen == list(range(num_rows))

"""Random bits are a pure function of (key, counter), and uses of one key never meet."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lite import random
from lite.random import branch_stream, exponentials, fork_stream, threefry_2x32

WORD = st.integers(0, 2**32 - 1)
ONES = 0xFFFFFFFF


def words(*values: int) -> tuple[np.ndarray, ...]:
    return tuple(np.array([value], dtype=np.uint32) for value in values)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((ONES, ONES), (ONES, ONES), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_published_vectors(counter, key, expected):
    first, second = threefry_2x32(words(*key), words(*counter))
    assert (int(first[0]), int(second[0])) == expected


@settings(deadline=None)
@given(WORD, WORD, WORD, WORD)
def test_threefry_equals_its_definition_in_whole_numbers(key0, key1, counter0, counter1):
    keys = (key0, key1, 0x1BD11BDA ^ key0 ^ key1)
    x, y = (counter0 + key0) % 2**32, (counter1 + key1) % 2**32
    for step in range(20):
        bits = (13, 15, 26, 6, 17, 29, 16, 24)[step % 8]
        x = (x + y) % 2**32
        y = (y << bits | y >> 32 - bits) % 2**32 ^ x
        if step % 4 == 3:
            turn = step // 4 + 1
            x, y = (x + keys[turn % 3]) % 2**32, (y + keys[(turn + 1) % 3] + turn) % 2**32
    first, second = threefry_2x32(words(key0, key1), words(counter0, counter1))
    assert (int(first[0]), int(second[0])) == (x, y)


def test_threefry_leaves_its_arguments_alone():
    key, counter = words(1, 2), words(3, 4)
    threefry_2x32(key, counter)
    assert [int(word[0]) for word in (*key, *counter)] == [1, 2, 3, 4]


def test_streams_of_branches_and_forks_are_all_different():
    branches = [branch_stream(seed, sample) for seed, sample in product((0, 1, 2**32, 2**64 - 1), range(200))]
    forks = [fork_stream(branches[0], at, sample) for at, sample in product(range(20), range(20))]
    nested = [fork_stream(fork, 0, 0) for fork in forks]
    assert len({*branches, *forks, *nested}) == len(branches) + len(forks) + len(nested)


def test_streams_never_change_between_versions():
    branch = branch_stream(0, 0)
    assert branch == (844240965, 2082719024)
    assert fork_stream(branch, 3, 1) == (704108094, 3947484066)


@pytest.mark.parametrize("call", [lambda: branch_stream(2**64, 0), lambda: branch_stream(-1, 0)])
def test_a_seed_out_of_range_is_refused(call):
    with pytest.raises(ValueError, match=r"seed must be in \[0, 2\*\*64\), got"):
        call()


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("sample", lambda: branch_stream(0, 2**32)),
        ("sample", lambda: fork_stream((0, 0), 0, -1)),
        ("at", lambda: fork_stream((0, 0), 2**32, 0)),
    ],
)
def test_an_index_out_of_range_is_refused(name, call):
    with pytest.raises(ValueError, match=rf"{name} must be in \[0, 2\*\*32\), got"):
        call()


def variates(streams: int = 20, positions: int = 100, tokens: int = 200) -> np.ndarray:
    """Shape (streams, positions, tokens)."""
    keys = np.array([branch_stream(7, sample) for sample in range(streams)], dtype=np.uint32)
    ids = np.broadcast_to(np.arange(tokens, dtype=np.uint32), (streams * positions, tokens))
    drawn = np.tile(np.arange(positions, dtype=np.uint32), streams)
    return exponentials(np.repeat(keys, positions, axis=0), drawn, ids).reshape(streams, positions, tokens)


def test_exponentials_follow_their_law():
    values = np.sort(variates().ravel().astype(np.float64))
    law = -np.expm1(-values)
    steps = np.arange(len(values) + 1) / len(values)
    distance = max((steps[1:] - law).max(), (law - steps[:-1]).max())
    assert distance * np.sqrt(len(values)) < 1.95  # Kolmogorov-Smirnov, p = 0.001
    assert values[0] < 1e-4


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_exponentials_of_neighbours_do_not_correlate(axis):
    values = np.moveaxis(variates(), axis, 0)
    one, other = values[:-1].ravel(), values[1:].ravel()
    assert abs(np.corrcoef(one, other)[0, 1]) * np.sqrt(one.size) < 4


def test_exponentials_stay_finite_and_positive_at_the_ends():
    high = np.array([0, 0, 1, ONES - 128, ONES - 127, ONES], dtype=np.uint32)
    low = np.array([0, 2, 0, ONES, 0, ONES], dtype=np.uint32)
    values = random._exponentials(high, low)
    assert values.dtype == np.float32
    assert values[0] == np.float32(2**-64)
    assert (np.diff(values) >= 0).all()
    assert values[-1] == pytest.approx(24 * np.log(2))


@settings(deadline=None)
@given(WORD, WORD, WORD, st.lists(WORD, min_size=1, max_size=9))
def test_an_exponential_does_not_depend_on_what_is_computed_with_it(key0, key1, position, ids):
    stream = np.array([[key0, key1]], dtype=np.uint32)
    drawn = np.array([position], dtype=np.uint32)
    together = exponentials(stream, drawn, np.array([ids], dtype=np.uint32))
    alone = [exponentials(stream, drawn, np.array([[token]], dtype=np.uint32))[0, 0] for token in ids]
    assert together[0].tolist() == alone

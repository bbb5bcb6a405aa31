"""Blocks against lists: what a slot holds is what was written to it, and no block is lost or shared by writers."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lite.backends.cpu.blocks import Blocks

SHAPES = [(2, 4, 3), (2, 4, 3), (2, 4, 3)]  # blocks of four positions
NUM_SLOTS = 5
CONTEXT = 18
MOST = NUM_SLOTS * 5

SLOTS = st.integers(0, NUM_SLOTS - 1)
LENGTHS = st.integers(0, CONTEXT)
CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), SLOTS, LENGTHS, LENGTHS),
        st.tuples(st.just("fork"), SLOTS, SLOTS, LENGTHS),
        st.tuples(st.just("copy"), SLOTS, SLOTS),
        st.tuples(st.just("release"), SLOTS),
    ),
    max_size=40,
)


@pytest.fixture(autouse=True, scope="module")
def growth() -> Iterator[None]:
    """Arrays begin with one block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lite.backends.cpu.blocks._FIRST_BLOCKS", 1)
        yield


class Pair:
    """Blocks, and what each slot should hold: one number for each position."""

    def __init__(self) -> None:
        self.blocks = Blocks(SHAPES, np.float32, max_blocks=MOST)
        self.held: dict[int, list[int]] = {}
        self._last = 0

    def write(self, slot: int, start: int, count: int) -> None:
        held = self.held.get(slot, [])
        start = min(start, len(held))
        end = min(start + count, CONTEXT)
        self.blocks.make_room(slot, start, end)
        new = []
        for position in range(start, end):
            self._last += 1
            new.append(self._last)
            block = self.blocks.table(slot)[position // 4]
            for index, array in enumerate(self.blocks.arrays):
                array[block, :, position % 4] = self._last + index
        self.held[slot] = [*held[:start], *new]

    def fork(self, source: int, target: int, length: int) -> None:
        held = self.held.get(source, [])
        self.blocks.fork(source, target, min(length, len(held)))
        self.held[target] = held[:length]

    def copy(self, source: int, target: int) -> None:
        self.blocks.fill(target, self.blocks.content(source))
        self.held[target] = self.held.get(source, [])

    def release(self, slot: int) -> None:
        self.blocks.release(slot)
        self.held.pop(slot, None)

    def check(self) -> None:
        for slot in range(NUM_SLOTS):
            held = np.array(self.held.get(slot, []))
            assert self.blocks.length(slot) == len(held)
            assert len(self.blocks.table(slot)) == -(-len(held) // 4)
            expected = np.broadcast_to(held[:, None], (len(held), 3)) + np.arange(3)[:, None, None, None]
            np.testing.assert_array_equal(self.blocks.content(slot), np.broadcast_to(expected, (3, 2, len(held), 3)))
        users = Counter(block for slot in range(NUM_SLOTS) for block in self.blocks.table(slot))
        assert self.blocks.num_used == len(users) <= len(self.blocks.arrays[0]) <= MOST


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(CALLS)
def test_any_calls_leave_what_lists_would_hold(calls: list[tuple[str, ...]]) -> None:
    pair = Pair()
    for name, *arguments in calls:
        getattr(pair, name)(*arguments)
        pair.check()
    for slot in range(NUM_SLOTS):
        pair.release(slot)
    assert pair.blocks.num_used == 0


def test_every_slot_can_be_full_and_written_anew() -> None:
    """Also where all blocks are taken and most of them are shared."""
    pair = Pair()
    for slot in range(NUM_SLOTS):
        pair.write(slot, 0, CONTEXT)
    pair.check()
    for slot in range(1, NUM_SLOTS):
        pair.fork(0, slot, CONTEXT)
    for slot in range(NUM_SLOTS):
        for start in (CONTEXT - 1, 6, 1):
            pair.write(slot, start, CONTEXT)
            pair.check()
    assert pair.blocks.num_used == MOST


def test_a_fork_takes_blocks_only_where_it_is_written() -> None:
    pair = Pair()
    pair.write(0, 0, 10)
    pair.fork(0, 1, 10)
    assert pair.blocks.table(1) == pair.blocks.table(0)
    pair.write(1, 10, 1)
    assert pair.blocks.table(1)[:2] == pair.blocks.table(0)[:2]
    assert pair.blocks.num_used == 4
    pair.release(0)
    assert pair.blocks.num_used == 3
    pair.write(1, 11, 1)
    assert pair.blocks.num_used == 3


def test_memory_that_is_not_there_leaves_a_slot_up_to_where_it_was_to_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = Pair()
    pair.write(0, 0, 10)
    with pytest.raises(MemoryError, match=f"no more than {MOST} blocks"):
        pair.blocks.make_room(0, 6, 4 * MOST + 1)
    pair.held[0] = pair.held[0][:6]
    pair.check()
    pair.write(0, 6, 10)
    pair.check()

    def zeros(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(np, "zeros", zeros)
        with pytest.raises(MemoryError):
            pair.blocks.make_room(0, 2, 70)
    pair.held[0] = pair.held[0][:2]
    pair.check()
    pair.write(0, 2, 9)
    pair.check()


def test_clearing_gives_the_memory_back() -> None:
    pair = Pair()
    pair.write(0, 0, 10)
    pair.blocks.clear()
    pair.held.clear()
    assert sum(array.nbytes for array in pair.blocks.arrays) == 0
    pair.check()
    pair.write(0, 0, 10)
    pair.check()

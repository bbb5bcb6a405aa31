"""Keys and values of many branches: slots placed in the rows of arrays that grow with use."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["KeyValueRows"]

_FIRST_ROWS, _FIRST_POSITIONS = 8, 128


class KeyValueRows:
    """Two arrays a layer, of shape (rows, kv heads, positions, head_dim) float32, rows and positions doubled on demand.

    A slot is a name that stays, a row is where its content lies; rows move so that a step's branches are
    neighbours. Memory that nothing was written to costs nothing: the operating system gives pages on first touch.
    """

    def __init__(
        self, *, num_slots: int, max_positions: int, num_layers: int, num_kv_heads: int, head_dim: int
    ) -> None:
        self._num_slots = num_slots
        self._max_positions = max_positions
        self._heads = (num_kv_heads, head_dim)
        self._row_of: dict[int, int] = {}
        self._length_of: dict[int, int] = {}
        self.arrays: list[NDArray[np.float32]] = [self._empty(0, 0) for _ in range(2 * num_layers)]
        self.generation = 0  # changes when the arrays do: addresses of before are void

    @property
    def num_rows(self) -> int:
        return len(self.arrays[0])

    @property
    def num_positions(self) -> int:
        return int(self.arrays[0].shape[2])

    def length(self, slot: int) -> int:
        """How many positions of the slot hold content."""
        return self._length_of.get(slot, 0)

    def set_length(self, slot: int, length: int) -> None:
        self._length_of[slot] = length

    def row(self, slot: int) -> int:
        """The slot's row; a slot without one gets the first that is free."""
        if slot not in self._row_of:
            taken = set(self._row_of.values())
            row = next(row for row in range(self._num_slots) if row not in taken)
            self.reserve(row + 1, 0)
            self._row_of[slot] = row
        return self._row_of[slot]

    def release(self, slot: int) -> None:
        self._row_of.pop(slot, None)
        self._length_of.pop(slot, None)

    def copy(self, source: int, target: int, length: int) -> None:
        """Make the first `length` positions of slot `target` those of slot `source`."""
        source_row, target_row = self.row(source), self.row(target)
        if source_row != target_row:
            for array in self.arrays:
                array[target_row, :, :length] = array[source_row, :, :length]
        self._length_of[target] = length

    def content(self, slot: int) -> NDArray[np.float32]:
        """Of all layers, (arrays, kv heads, length, head_dim)."""
        row, length = self.row(slot), self.length(slot)
        return np.stack([array[row, :, :length] for array in self.arrays])

    def fill(self, slot: int, content: NDArray[np.float32]) -> None:
        """Give a slot what `content` returned of another; there must be room for its positions."""
        row, length = self.row(slot), content.shape[2]
        for array, layer in zip(self.arrays, content, strict=True):
            array[row, :, :length] = layer
        self._length_of[slot] = length

    def reserve(self, rows: int, positions: int) -> None:
        """Grow the arrays to hold at least so much, content included. Raises MemoryError and changes nothing."""
        if rows <= self.num_rows and positions <= self.num_positions:
            return
        num_rows = _doubled(self.num_rows or _FIRST_ROWS, rows, self._num_slots)
        num_positions = _doubled(self.num_positions or _FIRST_POSITIONS, positions, self._max_positions)
        larger = [self._empty(num_rows, num_positions) for _ in self.arrays]  # or MemoryError before anything moved
        for index, new in enumerate(larger):
            old = self.arrays[index]
            for slot, row in self._row_of.items():
                length = self.length(slot)
                new[row, :, :length] = old[row, :, :length]
            self.arrays[index] = new
        self.generation += 1

    def clear(self) -> None:
        """Forget all content and give its memory back."""
        self._row_of.clear()
        self._length_of.clear()
        self.arrays = [self._empty(0, 0) for _ in self.arrays]
        self.generation += 1

    def window(self, slots: Sequence[int]) -> int:
        """Bring the slots into neighbouring rows, in any order, and return the first of these."""
        rows = {self.row(slot) for slot in slots}
        first = min(rows)
        if max(rows) - first + 1 == len(rows):
            return first
        first = max(range(self.num_rows - len(rows) + 1), key=lambda low: len(rows & _span(low, len(rows))))
        window = _span(first, len(rows))
        for outside, inside in zip(sorted(rows - window), sorted(window - rows), strict=True):
            self._exchange(outside, inside)
        return first

    def _exchange(self, first: int, second: int) -> None:
        """Swap the content of two rows, of which the second may be free."""
        slot_at = {row: slot for slot, row in self._row_of.items()}
        one, other = slot_at[first], slot_at.get(second)
        length = self.length(one)
        other_length = 0 if other is None else self.length(other)
        for array in self.arrays:
            kept = array[second, :, :other_length].copy()
            array[second, :, :length] = array[first, :, :length]
            array[first, :, :other_length] = kept
        self._row_of[one] = second
        if other is not None:
            self._row_of[other] = first

    def _empty(self, rows: int, positions: int) -> NDArray[np.float32]:
        num_kv_heads, head_dim = self._heads
        return np.empty((rows, num_kv_heads, positions, head_dim), np.float32)


def _span(first: int, count: int) -> set[int]:
    return set(range(first, first + count))


def _doubled(size: int, needed: int, limit: int) -> int:
    while size < needed:
        size *= 2
    return min(size, limit)

"""Keys and values of many branches, for graphs that take a past and return a longer one."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pasts"]

Array: TypeAlias = NDArray[Any]

_BLOCK = 64  # positions by which the memory of a step grows at least


class Pasts:
    """What each slot has written, as many arrays as the graph has pasts.

    A slot that a prompt was written to has arrays (1, kv heads, positions, head_dim) of its own, which nothing writes
    to again, so that forks share them. The slots of a step lie side by side in arrays (slots, kv heads, positions,
    head_dim), and stay there as long as the same slots step on.

    A fused graph reads a row's keys from the first position on, and writes into the arrays that it reads. Others
    append one position to all rows alike: there the rows end together, and zeros stand in front of shorter ones.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]], dtype: str, *, fused: bool) -> None:
        """`shapes` are (kv heads, head_dim) of each past."""
        self._shapes = tuple(shapes)
        self._dtype = np.dtype(dtype)
        self._fused = fused
        self._own: dict[int, list[Array]] = {}
        self._lengths: dict[int, int] = {}  # of the slots that lie side by side
        self._order: list[int] = []  # by row; a slot that has left keeps its place until the next step
        self._past: list[Array] = []
        self._memory: tuple[list[Array], list[Array]] = ([], [])  # of the past, and of what comes after it
        self._room = 0  # positions that the memory has for each row

    def alone(self, slot: int, length: int) -> list[Array]:
        """A slot's first `length` positions, (1, kv heads, length, head_dim)."""
        return [np.ascontiguousarray(array) for array in self._content(slot, length)]

    def empty(self, length: int) -> list[Array]:
        """Memory for the present of one slot."""
        return [np.empty((1, heads, length, size), self._dtype) for heads, size in self._shapes]

    def keep(self, slot: int, arrays: list[Array]) -> None:
        """Make these the slot's content. They must not be written to any more."""
        self._lengths.pop(slot, None)
        self._own[slot] = arrays

    def fork(self, source: int, target: int, length: int) -> None:
        shared = source in self._own
        self.keep(target, [array if shared else array.copy() for array in self._content(source, length)])

    def release(self, slot: int) -> None:
        self._own.pop(slot, None)
        self._lengths.pop(slot, None)

    def clear(self) -> None:
        self._own.clear()
        self._lengths.clear()
        self._order, self._past, self._memory, self._room = [], [], ([], []), 0

    def together(self, lengths: dict[int, int]) -> tuple[list[Array], list[Array]]:
        """Past and present of a step of these slots, of which each has so many positions.

        The two are one memory in a fused graph.
        """
        longest = max(lengths.values())
        stays = list(lengths) == self._order and lengths == self._lengths
        if not stays or longest >= self._room:
            self._gather(lengths)
        return self._past, self._past if self._fused else self._shaped(1, longest + 1)

    def advance(self) -> None:
        """The step was taken: each of its slots has one position more."""
        self._lengths = {slot: length + 1 for slot, length in self._lengths.items()}
        if not self._fused:
            self._memory = self._memory[::-1]
            self._past = self._shaped(0, max(self._lengths.values()))

    def _content(self, slot: int, length: int) -> list[Array]:
        """Views of a slot's first `length` positions, (1, kv heads, length, head_dim)."""
        if not length:
            return self.empty(0)
        if slot in self._own:
            return [array[:, :, :length] for array in self._own[slot]]
        row = self._order.index(slot)
        first = 0 if self._fused else self._past[0].shape[2] - self._lengths[slot]
        return [array[row : row + 1, :, first : first + length] for array in self._past]

    def _gather(self, lengths: dict[int, int]) -> None:
        """Put the slots side by side; those that lay there and do not take part get arrays of their own."""
        contents = [self._content(slot, length) for slot, length in lengths.items()]
        for slot in self._lengths.keys() - lengths.keys():
            self._own[slot] = [array.copy() for array in self._content(slot, self._lengths[slot])]
        longest = max(lengths.values())
        self._room = longest + max(_BLOCK, longest // 4)
        self._order = list(lengths)
        self._memory = self._allocated(), [] if self._fused else self._allocated()
        self._past = self._shaped(0, self._room if self._fused else longest)
        for row, content in enumerate(contents):
            for past, array in zip(self._past, content, strict=True):
                length = array.shape[2]
                first = 0 if self._fused else longest - length
                past[row, :, :first] = 0
                past[row, :, first : first + length] = array[0]
        for slot in lengths:
            self._own.pop(slot, None)
        self._lengths = dict(lengths)

    def _allocated(self) -> list[Array]:
        cells = len(self._order) * self._room
        return [np.empty(cells * heads * size, self._dtype) for heads, size in self._shapes]

    def _shaped(self, which: int, positions: int) -> list[Array]:
        """The beginning of a memory as arrays of so many positions."""
        rows = len(self._order)
        return [
            memory[: rows * heads * positions * size].reshape(rows, heads, positions, size)
            for memory, (heads, size) in zip(self._memory[which], self._shapes, strict=True)
        ]

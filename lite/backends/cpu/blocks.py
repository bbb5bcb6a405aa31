"""Keys and values in blocks of positions, which slots share until one of them writes (arXiv:2309.06180)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["Blocks"]

_FIRST_BLOCKS = 32


class Blocks:
    """Arrays (blocks, kv heads, positions of a block, head_dim), as many as `shapes` tells (kv heads, size, head_dim).

    A slot holds a table: which block holds its positions 0..size-1, which the next ones. A fork copies the table alone.
    Arrays double as blocks are needed, up to `max_blocks`; memory that nothing was written to costs nothing.
    """

    def __init__(self, shapes: Sequence[tuple[int, int, int]], dtype: DTypeLike, *, max_blocks: int) -> None:
        self._shapes = tuple(shapes)
        self._size = self._shapes[0][1]
        self._dtype = dtype
        self._max_blocks = max_blocks
        self.clear()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one block of the first array."""
        return self._shapes[0]

    @property
    def num_used(self) -> int:
        """Blocks that hold something."""
        return len(self._users) - len(self._free)

    def table(self, slot: int) -> list[int]:
        """Its blocks in the order of positions."""
        return self._tables.get(slot, [])

    def length(self, slot: int) -> int:
        """How many positions it has room for that it asked for."""
        return self._lengths.get(slot, 0)

    def make_room(self, slot: int, start: int, end: int) -> None:
        """Give the slot blocks for positions below `end`, those from `start` on its own; what stood there is lost.

        `start` is at most its length. Raises MemoryError, and then the slot has room up to `start`.
        """
        assert start <= min(self.length(slot), end)
        table, kept, filled = self._tables.setdefault(slot, []), self._count(start), start % self._size
        self._give_back(table[kept:])
        del table[kept:]
        self._lengths[slot] = start
        copies = filled > 0 and end > start and self._users[table[-1]] > 1
        added = self._count(end) - kept
        self._reserve(added + copies)
        if copies:
            self._copy_last(table, filled)
        table += [self._take() for _ in range(added)]
        self._lengths[slot] = end

    def fork(self, source: int, target: int, length: int) -> None:
        """Make the first `length` positions of slot `target` those of slot `source`."""
        table = self.table(source)[: self._count(length)]
        for block in table:
            self._users[block] += 1
        self.release(target)
        self._tables[target], self._lengths[target] = table, length

    def release(self, slot: int) -> None:
        self._give_back(self._tables.pop(slot, []))
        self._lengths.pop(slot, None)

    def content(self, slot: int) -> NDArray[np.floating]:
        """All that it holds, (arrays, kv heads, length, head_dim)."""
        heads, size, width = self.shape
        table, length = np.array(self.table(slot), np.intp), self.length(slot)
        shape = heads, len(table) * size, width
        return np.stack([array[table].swapaxes(0, 1).reshape(shape)[:, :length] for array in self.arrays])

    def fill(self, slot: int, content: NDArray[np.floating]) -> None:
        """Give a slot what `content` returned of another."""
        length = content.shape[2]
        self.make_room(slot, 0, length)
        for array, layer in zip(self.arrays, content, strict=True):
            for number, block in enumerate(self.table(slot)):
                part = layer[:, number * self._size : (number + 1) * self._size]
                array[block, :, : part.shape[1]] = part

    def clear(self) -> None:
        """Forget all content and give its memory back."""
        self._tables: dict[int, list[int]] = {}
        self._lengths: dict[int, int] = {}
        self._users: list[int] = []  # of each block
        self._free: list[int] = []
        self.arrays: list[NDArray[np.floating]] = [np.zeros((0, *shape), self._dtype) for shape in self._shapes]

    def _count(self, length: int) -> int:
        """How many blocks hold so many positions."""
        return -(-length // self._size)

    def _copy_last(self, table: list[int], filled: int) -> None:
        """Let a table end with a block of its own that holds the same `filled` positions."""
        shared, table[-1] = table[-1], self._take()
        self._give_back([shared])
        for array in self.arrays:
            array[table[-1], :, :filled] = array[shared, :, :filled]

    def _take(self) -> int:
        block = self._free.pop()
        self._users[block] = 1
        return block

    def _give_back(self, blocks: Sequence[int]) -> None:
        for block in blocks:
            self._users[block] -= 1
            if not self._users[block]:
                self._free.append(block)

    def _reserve(self, count: int) -> None:
        """Have so many free blocks; content moves with the arrays. Raises MemoryError."""
        missing, old = count - len(self._free), len(self._users)
        if missing <= 0:
            return
        if old + missing > self._max_blocks:
            raise MemoryError(f"there are no more than {self._max_blocks} blocks")
        new = min(max(_FIRST_BLOCKS, 2 * old, old + missing), self._max_blocks)
        larger = [np.zeros((new, *shape), self._dtype) for shape in self._shapes]
        for array, room in zip(self.arrays, larger, strict=True):
            room[:old] = array
        self.arrays = larger
        self._users += [0] * (new - old)
        self._free += reversed(range(old, new))

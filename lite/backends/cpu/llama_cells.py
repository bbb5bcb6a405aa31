"""Which sequence and which cells of llama.cpp's cache belong to which slot."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Cells"]


@dataclass(slots=True)
class _Content:
    sequence: int
    cells: list[int]  # of positions 0, 1, ...


class Cells:
    """The book of a cache whose cells are given out in order, and not again before a compaction.

    So the cells of a sequence lie in the order of its positions, and as attention adds up cell by cell, its bits do
    not depend on what came and went beside it. A sequence that loses its end is left behind, and its beginning goes
    on under another number.
    """

    def __init__(self, num_sequences: int) -> None:
        self._slots: dict[int, _Content] = {}
        self._unused = list(reversed(range(num_sequences)))
        self._left: list[int] = []
        self._num_taken = 0
        self._dead_at_most = 0
        self._passed = 0  # dead cells, by all tokens since the last compaction

    @property
    def num_taken(self) -> int:
        """Cells given out since the last compaction."""
        return self._num_taken

    @property
    def num_live(self) -> int:
        """Cells that some slot needs."""
        return len(self._live())

    def pays(self, rate: int) -> bool:
        """Whether a compaction would have paid, had it been done at once.

        It costs `rate` for each live cell, and spares each token that comes to pass over the dead cells, those that
        no slot needs. They are counted only where it may be so.
        """
        if self._passed > rate * (self._num_taken - self._dead_at_most):
            dead = self._num_taken - self.num_live
            self._passed = self._passed * dead // self._dead_at_most
            self._dead_at_most = dead
        return self._passed > rate * (self._num_taken - self._dead_at_most)

    @property
    def num_unused(self) -> int:
        """How many sequences `take` can name before the next compaction."""
        return len(self._unused)

    @property
    def left(self) -> Sequence[int]:
        """Sequences that no slot needs."""
        return self._left

    def length(self, slot: int) -> int:
        """Tokens in the slot."""
        content = self._slots.get(slot)
        return len(content.cells) if content else 0

    def has_sequence(self, slot: int) -> bool:
        return slot in self._slots

    def sequence(self, slot: int) -> int:
        """Of a slot that has one."""
        return self._slots[slot].sequence

    def take(self, slot: int, source: int | None = None, length: int = 0) -> int:
        """Give the slot an unused sequence, which holds the first `length` cells of another slot or of itself."""
        cells = self._slots[source].cells[:length] if source is not None else []
        self.leave(slot)
        content = self._slots[slot] = _Content(self._unused.pop(), cells)
        return content.sequence

    def leave(self, slot: int) -> None:
        """The slot is empty."""
        content = self._slots.pop(slot, None)
        if content:
            self._left.append(content.sequence)
            self._dead_at_most = min(self._dead_at_most + len(content.cells), self._num_taken)

    def append(self, slot: int, count: int = 1) -> None:
        """The slot has got the next cells."""
        self._slots[slot].cells.extend(range(self._num_taken, self._num_taken + count))
        self._num_taken += count
        self._passed += count * self._dead_at_most

    def compact(self) -> None:
        """The sequences left behind are gone, and the other cells lie side by side, in their order."""
        number = {cell: index for index, cell in enumerate(sorted(self._live()))}
        for content in self._slots.values():
            content.cells = [number[cell] for cell in content.cells]
        self._unused += self._left
        self._left = []
        self._num_taken = len(number)
        self._dead_at_most = self._passed = 0

    def _live(self) -> set[int]:
        return {cell for content in self._slots.values() for cell in content.cells}

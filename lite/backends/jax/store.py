"""Rows of keys and values by key, in arrays whose sizes are buckets.

Rows that a step draws for together must lie in one array. What they are changes slowly, so rows stay where they are,
and move to a new array when they have outgrown the old one or when it is mostly others' rows. These stay behind in the
old array, which goes when the last of them does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from lite.backends.jax.buckets import Buckets
from lite.backends.jax.cache import Cache, copy_row, move_rows

__all__ = ["Block", "Store"]


@dataclass(slots=True, eq=False)
class Block:
    """One set of arrays, and whose rows they are."""

    cache: Cache
    rows: dict[int, int] = field(default_factory=dict)  # key -> row

    @property
    def num_free(self) -> int:
        return self.cache.num_rows - len(self.rows)

    def take(self, key: int) -> int:
        """The first free row, which is the key's from now on."""
        taken = set(self.rows.values())
        self.rows[key] = next(row for row in range(self.cache.num_rows) if row not in taken)
        return self.rows[key]


class Store:
    """Rows by key. `empty` makes a cache of zeros from numbers of rows and of positions."""

    def __init__(self, empty: Callable[[int, int], Cache], buckets: Buckets) -> None:
        self._empty = empty
        self._buckets = buckets
        self._block_of: dict[int, Block] = {}
        self._home = Block(empty(buckets.rows.fit(1), buckets.positions.fit(1)))  # where new rows come to lie

    def place(self, key: int, num_positions: int) -> tuple[Block, int]:
        """The key's row, with room for so many positions; a new key gets a row of which nothing is known."""
        block = self._block_of.get(key)
        if block is None or block.cache.num_positions < num_positions:
            self._make_room(key, num_positions)
            self._bring([key])
            block = self._home
        return block, block.rows[key]

    def gather(self, keys: Sequence[int], num_positions: int) -> tuple[Block, list[int]]:
        """One block that holds all of these keys, no larger than they need, and their rows in it.

        Its rows have room for so many positions, which must be no fewer than the keys' content takes.
        """
        home, fitting = self._home, self._buckets.rows.fit(len(keys))
        strangers = sum(key not in home.rows for key in keys)
        roomy = home.num_free >= strangers and home.cache.num_positions >= num_positions
        if not roomy or home.cache.num_rows != fitting:
            self._home = Block(self._empty(fitting, self._buckets.positions.fit(num_positions)))
        self._bring(keys)
        return self._home, [self._home.rows[key] for key in keys]

    def copy(self, source: int, target: int, length: int) -> None:
        """Make the first `length` positions of `target`, a new key, equal to those of `source`."""
        block, row = self.place(target, length)
        origin = self._block_of[source]
        if origin is block:
            block.cache = copy_row(block.cache, np.int32(origin.rows[source]), np.int32(row))
        else:
            self._move(block, origin, {row: origin.rows[source]})

    def free(self, key: int) -> None:
        """Forget a key, if it is there."""
        block = self._block_of.pop(key, None)
        if block is not None:
            del block.rows[key]

    def _make_room(self, key: int, num_positions: int) -> None:
        """Have a home block with a row for the key and for all that is there already."""
        home = self._home
        keys = home.rows.keys() | {key}
        if home.cache.num_positions < num_positions or home.cache.num_rows < len(keys):
            positions = max(self._buckets.positions.fit(num_positions), home.cache.num_positions)
            self._home = Block(self._empty(self._buckets.rows.fit(len(keys)), positions))
            self._bring(list(home.rows))

    def _bring(self, keys: Sequence[int]) -> None:
        """Have the keys in the home block, which has room, with the content that they have elsewhere."""
        elsewhere: dict[Block, dict[int, int]] = {}
        for key in keys:
            if key in self._home.rows:
                continue
            row = self._home.take(key)
            block = self._block_of.get(key)
            if block is not None:
                elsewhere.setdefault(block, {})[row] = block.rows.pop(key)
            self._block_of[key] = self._home
        for block, rows in elsewhere.items():
            self._move(self._home, block, rows)

    def _move(self, target: Block, source: Block, rows: dict[int, int]) -> None:
        """Copy rows: those of the target -> those of the source. Filled up, so that the number does not matter."""
        filling = [target.cache.num_rows] * (target.cache.num_rows - len(rows))
        targets = np.array([*rows, *filling], np.int32)
        sources = np.array([*rows.values(), *(0 for _ in filling)], np.int32)
        target.cache = move_rows(target.cache, source.cache, targets, sources)

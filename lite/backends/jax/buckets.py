"""The few sizes that programs are compiled for."""

from dataclasses import dataclass, replace
from math import lcm

__all__ = ["ACCELERATOR", "CPU", "Buckets", "Ladder"]


@dataclass(frozen=True, slots=True)
class Ladder:
    """Sizes first, first * factor, first * factor ** 2, ..."""

    first: int
    factor: int

    def fit(self, size: int) -> int:
        """The least of them that holds `size`."""
        fitting = self.first
        while fitting < size:
            fitting *= self.factor
        return fitting


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """Ladders of rows, of rows a prompt, of positions in a cache, and of tokens written at once, with the most."""

    rows: Ladder
    groups: Ladder
    positions: Ladder
    writes: Ladder
    longest_write: int

    def over(self, num_data: int) -> "Buckets":
        """With rows that can be split evenly among so many devices."""
        return replace(self, rows=Ladder(lcm(self.rows.first, num_data), self.rows.factor))


ACCELERATOR = Buckets(
    rows=Ladder(1, 4), groups=Ladder(1, 4), positions=Ladder(128, 2), writes=Ladder(16, 8), longest_write=1024
)
CPU = Buckets(rows=Ladder(4, 4), groups=Ladder(4, 4), positions=Ladder(256, 2), writes=Ladder(32, 4), longest_write=128)
"""Few programs, since compiling one takes longer than what a tight size would save."""

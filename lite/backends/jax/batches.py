"""From the engine's rows to what the drawing loop is given."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lite.backends.base import Row
from lite.backends.jax.buckets import Ladder
from lite.backends.jax.draw import rules_of
from lite.backends.jax.mesh import host_array
from lite.backends.jax.programs import Batch
from lite.params import SamplingParams

__all__ = ["PlacedRow", "batch_of", "spread"]

_IDLE = Row(0, 0, 0, (0, 0), 0, SamplingParams(temperature=0), (), 0, 0)


@dataclass(frozen=True, slots=True)
class PlacedRow:
    """A row, its place in the cache, and the prompt's row that it goes on from, up to position `base`."""

    row: Row
    place: int
    prompt_row: int
    base: int


def spread(rows: Sequence[PlacedRow], num_rows: int) -> list[Row]:
    """The rows at their places, with idle ones between them."""
    placed = [_IDLE] * num_rows
    for row in rows:
        placed[row.place] = row.row
    return placed


def batch_of(rows: Sequence[PlacedRow], num_rows: int, num_prompts: int, ladder: Ladder) -> Batch:
    """The batch over caches of `num_rows` and `num_prompts` rows; a group is as wide as a size of `ladder`."""
    placed, bases = spread(rows, num_rows), np.zeros(num_rows, np.int32)
    for row in rows:
        bases[row.place] = row.base
    members, places = _grouped(rows, num_rows, num_prompts, ladder)
    return Batch(
        tokens=host_array([row.token for row in placed], np.int32),
        lengths=host_array([row.position for row in placed], np.int32) - bases,
        bases=host_array(bases, np.int32),
        remaining=host_array([row.max_new for row in placed], np.int32),
        drawn=host_array([row.drawn for row in placed], np.uint32),
        members=host_array(members, np.int32),
        places=host_array(places, np.int32),
        rules=rules_of(placed),
    )


def _grouped(
    rows: Sequence[PlacedRow], num_rows: int, num_prompts: int, ladder: Ladder
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """`Batch.members` and `Batch.places`."""
    groups: list[list[int]] = [[] for _ in range(num_prompts)]
    for row in rows:
        groups[row.prompt_row].append(row.place)
    width = ladder.fit(max(map(len, groups)))
    members, places = np.zeros((num_prompts, width), np.int32), np.zeros(num_rows, np.int32)
    for index, group in enumerate(groups):
        members[index, : len(group)] = group
        places[group] = index * width + np.arange(len(group))
    return members, places

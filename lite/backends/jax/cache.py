"""Keys and values of many rows, one array a layer, and what moves them about on the device."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.tree_util import register_dataclass

from lite.backends.jax.compilation import traced_once

__all__ = ["Cache", "copy_row", "empty_cache", "move_rows", "read_row", "write_row"]


@register_dataclass
@dataclass(frozen=True)
class Cache:
    """Of each layer, arrays (rows, kv heads, positions, head_dim).

    Never one array of all layers: a step would copy its slices. What lies beyond a row's length means nothing, and is
    masked wherever it is read.
    """

    keys: tuple[jax.Array, ...]
    values: tuple[jax.Array, ...]

    @property
    def num_rows(self) -> int:
        return int(self.keys[0].shape[0])

    @property
    def num_positions(self) -> int:
        return int(self.keys[0].shape[2])


def empty_cache(
    num_layers: int, shape: tuple[int, int, int, int], dtype: jnp.dtype, sharding: jax.sharding.Sharding | None = None
) -> Cache:
    """All zeros; `shape` is (rows, kv heads, positions, head_dim)."""
    cache: Cache = _zeros(num_layers, shape, dtype, sharding)
    return cache


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _zeros(num_layers: int, shape: tuple[int, ...], dtype: jnp.dtype, sharding: jax.sharding.Sharding | None) -> Cache:
    """All arrays by one program."""
    arrays = [jnp.zeros(shape, dtype, device=sharding) for _ in range(2 * num_layers)]
    return Cache(keys=tuple(arrays[:num_layers]), values=tuple(arrays[num_layers:]))


@partial(jax.jit, donate_argnames=("target",))
def move_rows(target: Cache, source: Cache, targets: jax.Array, sources: jax.Array) -> Cache:
    """`target` with row targets[i] replaced by source's row sources[i]; a target beyond the last row is passed over."""
    moved: Cache = jax.tree.map(partial(_moved, targets=targets, sources=sources), target, source)
    return moved


@jax.jit
def read_row(cache: Cache, row: jax.Array) -> Cache:
    """A cache of that row alone."""
    read: Cache = jax.tree.map(lambda array: lax.dynamic_slice_in_dim(array, row, 1), cache)
    return read


@partial(jax.jit, donate_argnames=("cache",))
def write_row(cache: Cache, row: jax.Array, start: jax.Array, count: jax.Array, new: Cache) -> Cache:
    """`cache` with the first `count` positions of `new`, one row, at positions start.. of a row."""
    place = jnp.arange(new.num_positions, dtype=jnp.int32)
    targets = jnp.where(place < count, start + place, cache.num_positions)
    written: Cache = jax.tree.map(partial(_written, row=row, targets=targets), cache, new)
    return written


@partial(jax.jit, donate_argnames=("cache",))
def copy_row(cache: Cache, source: jax.Array, target: jax.Array) -> Cache:
    """`cache` with row `target` made equal to row `source`."""
    copied: Cache = jax.tree.map(lambda array: array.at[target].set(array[source]), cache)
    return copied


@traced_once()
def _moved(into: jax.Array, out_of: jax.Array, targets: jax.Array, sources: jax.Array) -> jax.Array:
    length = min(into.shape[2], out_of.shape[2])
    return into.at[targets, :, :length].set(out_of[sources, :, :length], mode="drop")


@traced_once()
def _written(into: jax.Array, out_of: jax.Array, row: jax.Array, targets: jax.Array) -> jax.Array:
    return into.at[row, :, targets].set(jnp.moveaxis(out_of[0], 0, 1), mode="drop")

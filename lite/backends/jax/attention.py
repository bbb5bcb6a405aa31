"""Attention over several stretches of keys and values, each read where it lies, merged by log-sum-exp.

Axes: g groups of r queries that read the same keys, k key-value heads, q query heads for each, d head size, p
positions. Scores and sums are float32.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax
from jax.tree_util import register_dataclass

from lite.backends.jax.compilation import traced_once

__all__ = ["Part", "attend", "merge"]

_FAR_BELOW = -1e30  # a score that no position has; finite, so that nothing seen is not NaN


@register_dataclass
@dataclass(frozen=True)
class Part:
    """What one stretch gives: sum(exp(s - peak) v), peak and sum(exp(s - peak)), float32."""

    total: jax.Array  # (g, r, k, q, d)
    peak: jax.Array  # (g, r, k, q)
    mass: jax.Array  # (g, r, k, q)


@traced_once()
def attend(queries: jax.Array, keys: jax.Array, values: jax.Array, visible: jax.Array) -> Part:
    """queries (g, r, k, q, d), scaled already; keys and values (g, k, p, d); visible, bool (g, r, p).

    A group's queries are the rows of one matrix: as axes of their own they were 4 times slower on a CPU.
    """
    groups, rows, kv_heads, sharing, size = queries.shape
    lines = jnp.moveaxis(queries, 1, 2).reshape(groups, kv_heads, rows * sharing, size)
    seen = jnp.repeat(visible, sharing, axis=1)[:, None]
    scores = jnp.where(seen, _product("gkmd,gkpd->gkmp", lines, keys), _FAR_BELOW)
    peak = scores.max(axis=-1, keepdims=True)
    weights = jnp.where(seen, jnp.exp(scores - peak), 0)
    total = _product("gkmp,gkpd->gkmd", weights.astype(values.dtype), values)

    def by_row(lines: jax.Array) -> jax.Array:
        return jnp.moveaxis(lines.reshape(groups, kv_heads, rows, sharing, -1), 2, 1)

    return Part(total=by_row(total), peak=by_row(peak)[..., 0], mass=by_row(weights.sum(axis=-1))[..., 0])


@traced_once()
def merge(parts: list[Part]) -> jax.Array:
    """The attention over all stretches together, float32, of the shape of `Part.total`; one must have a position."""
    peak = parts[0].peak
    for part in parts[1:]:
        peak = jnp.maximum(peak, part.peak)
    total, mass = jnp.zeros_like(parts[0].total), jnp.zeros_like(peak)
    for part in parts:
        factor = jnp.exp(part.peak - peak)
        total += part.total * factor[..., None]
        mass += part.mass * factor
    return total / mass[..., None]


def _product(equation: str, left: jax.Array, right: jax.Array) -> jax.Array:
    """An einsum with a float32 result."""
    if jax.default_backend() == "cpu":  # which has no product of bfloat16 with a float32 result
        left, right = left.astype(jnp.float32), right.astype(jnp.float32)
    precision = lax.Precision.HIGHEST if left.dtype == jnp.float32 else lax.Precision.DEFAULT
    result: jax.Array = jnp.einsum(equation, left, right, precision=precision, preferred_element_type=jnp.float32)
    return result

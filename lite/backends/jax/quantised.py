"""Matrices that a token is multiplied with: plain arrays, or eight-bit integers with one scale a column."""

from dataclasses import dataclass
from math import gcd
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.tree_util import register_dataclass
from numpy.typing import NDArray

__all__ = ["Matrix", "QTensor", "lookup", "multiply", "multiply_transposed", "quantise"]


@register_dataclass
@dataclass(frozen=True)
class QTensor:
    """Weights codes * scales. The scales, float32, are of the shape of the axes that a product does not sum over.

    The codes are widened inside the product, so that no full-precision copy of a matrix is made; a test looks for one
    in the compiled program.
    """

    codes: jax.Array  # int8
    scales: jax.Array


Matrix: TypeAlias = jax.Array | QTensor
"""Of shape (in, out...), or of shape (vocab, in) for the embedding and the head."""

_PARTS = 16  # of a matrix's first axis, which a CPU takes one after the other


def quantise(matrix: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Codes and scales, where a product sums over `axis`: each other index has a scale of its own."""
    scales = np.abs(matrix).max(axis=axis) / np.float32(127)
    divisors = np.expand_dims(np.where(scales == 0, np.float32(1), scales), axis)
    return np.rint(matrix / divisors).astype(np.int8), scales


def multiply(rows: jax.Array, matrix: Matrix) -> jax.Array:
    """rows (n, in) by a matrix (in, out...), in the rows' dtype."""
    if not isinstance(matrix, QTensor):
        return _product(rows, matrix)
    product = _sum_of_parts(rows, matrix.codes) if jax.default_backend() == "cpu" else _product(rows, matrix.codes)
    return (product.astype(jnp.float32) * matrix.scales[None]).astype(rows.dtype)


def multiply_transposed(rows: jax.Array, matrix: Matrix) -> jax.Array:
    """rows (n, in) by the transpose of a matrix (vocab, in), in float32."""
    on_cpu = jax.default_backend() == "cpu"
    if on_cpu:  # which has no product of bfloat16 with a float32 result
        rows = rows.astype(jnp.float32)
    if not isinstance(matrix, QTensor):
        return _product_transposed(rows, matrix)
    if not on_cpu:
        return _product_transposed(rows, matrix.codes) * matrix.scales[None]
    columns = lax.map(lambda part: _product_transposed(rows, part), _parts(matrix.codes))
    return jnp.moveaxis(columns, 0, 1).reshape(len(rows), -1) * matrix.scales[None]


def _product(rows: jax.Array, matrix: jax.Array) -> jax.Array:
    return jnp.tensordot(rows, matrix.astype(rows.dtype), axes=1, precision=_precision(rows))


def _product_transposed(rows: jax.Array, matrix: jax.Array) -> jax.Array:
    dimensions, precision = (((1,), (1,)), ((), ())), _precision(rows)
    plain = matrix.astype(rows.dtype)
    return lax.dot_general(rows, plain, dimensions, precision=precision, preferred_element_type=jnp.float32)


def _sum_of_parts(rows: jax.Array, codes: jax.Array) -> jax.Array:
    """As `_product`. XLA's CPU backend has no product with int8: it would widen all matrices ahead of a loop."""

    def add(total: jax.Array, part: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return total + _product(*part), None

    parts = _parts(codes)
    of_rows = jnp.moveaxis(rows.reshape(len(rows), len(parts), -1), 1, 0)
    return lax.scan(add, jnp.zeros((len(rows), *codes.shape[1:]), rows.dtype), (of_rows, parts))[0]


def _parts(codes: jax.Array) -> jax.Array:
    """(n, ...) as (parts, n / parts, ...)."""
    return codes.reshape(gcd(len(codes), _PARTS), -1, *codes.shape[1:])


def lookup(matrix: Matrix, ids: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Rows of a matrix (vocab, in)."""
    if isinstance(matrix, QTensor):
        return (matrix.codes[ids].astype(jnp.float32) * matrix.scales[ids][:, None]).astype(dtype)
    return matrix[ids].astype(dtype)


def _precision(rows: jax.Array) -> lax.Precision:
    """Float32 is meant where it is asked for: a GPU would round to 10 bits otherwise."""
    return lax.Precision.HIGHEST if rows.dtype == jnp.float32 else lax.Precision.DEFAULT

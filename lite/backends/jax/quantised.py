"""Matrices that a token is multiplied with: plain arrays, or eight-bit integers with one scale a column."""

from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from numpy.typing import NDArray

__all__ = ["Matrix", "QTensor", "lookup", "multiply", "multiply_transposed", "quantise"]


@struct.dataclass
class QTensor:
    """Weights codes * scales. The scales, float32, are of the shape of the axes that a product does not sum over.

    The codes are to be widened inside the product, so that no full-precision copy is made; a test looks for one in
    the compiled program where there is an accelerator. On a CPU XLA makes one, of the matrix at hand, in each step.
    """

    codes: jax.Array  # int8
    scales: jax.Array


Matrix: TypeAlias = jax.Array | QTensor
"""Of shape (in, out...), or of shape (vocab, in) for the embedding and the head."""


def quantise(matrix: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Codes and scales, where a product sums over `axis`: each other index has a scale of its own."""
    scales = np.abs(matrix).max(axis=axis) / np.float32(127)
    divisors = np.expand_dims(np.where(scales == 0, np.float32(1), scales), axis)
    return np.rint(matrix / divisors).astype(np.int8), scales


def multiply(rows: jax.Array, matrix: Matrix) -> jax.Array:
    """rows (n, in) by a matrix (in, out...), in the rows' dtype."""
    if isinstance(matrix, QTensor):
        product = jnp.tensordot(rows, matrix.codes.astype(rows.dtype), axes=1, precision=_precision(rows))
        return (product.astype(jnp.float32) * matrix.scales[None]).astype(rows.dtype)
    return jnp.tensordot(rows, matrix, axes=1, precision=_precision(rows))


def multiply_transposed(rows: jax.Array, matrix: Matrix) -> jax.Array:
    """rows (n, in) by the transpose of a matrix (vocab, in), in float32."""
    plain = matrix.codes.astype(rows.dtype) if isinstance(matrix, QTensor) else matrix
    if jax.default_backend() == "cpu":  # which has no product of bfloat16 with a float32 result
        rows, plain = rows.astype(jnp.float32), plain.astype(jnp.float32)
    dimensions = (((1,), (1,)), ((), ()))
    product = lax.dot_general(rows, plain, dimensions, precision=_precision(rows), preferred_element_type=jnp.float32)
    return product * matrix.scales[None] if isinstance(matrix, QTensor) else product


def lookup(matrix: Matrix, ids: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Rows of a matrix (vocab, in)."""
    if isinstance(matrix, QTensor):
        return (matrix.codes[ids].astype(jnp.float32) * matrix.scales[ids][:, None]).astype(dtype)
    return matrix[ids].astype(dtype)


def _precision(rows: jax.Array) -> lax.Precision:
    """Float32 is meant where it is asked for: a GPU would round to 10 bits otherwise."""
    return lax.Precision.HIGHEST if rows.dtype == jnp.float32 else lax.Precision.DEFAULT

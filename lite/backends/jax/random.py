"""The JAX twin of `lite.random`: the same words, bit for bit, and the same variates up to the last bit of `log1p`."""

from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["exponentials", "threefry_2x32"]

_Words: TypeAlias = tuple[jax.Array, jax.Array]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)
_BELOW_ONE = np.float32(1 - 2**-24)


def threefry_2x32(
    key: tuple[jax.Array, jax.Array], counter: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Two random words for each key and counter: uint32 arrays of one rank, broadcast together."""
    schedule = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    first, second = counter[0] + key[0], counter[1] + key[1]
    for injection in range(1, 6):
        for rotation in _ROTATIONS[(injection - 1) % 2]:
            first = first + second
            second = ((second << np.uint32(rotation)) | (second >> np.uint32(32 - rotation))) ^ first
        first = first + schedule[injection % 3]
        second = second + schedule[(injection + 1) % 3] + np.uint32(injection)
    return first, second


def exponentials(streams: jax.Array, positions: jax.Array, token_ids: jax.Array) -> jax.Array:
    """Exp(1) variates of shape (n, k), float32, in [2**-64, 24 ln 2].

    `streams` is uint32 of shape (n, 2), `positions` uint32 (n,), `token_ids` uint32 (n, k) or (1, k).
    """
    key = (streams[:, 0:1], streams[:, 1:2])
    high, low = threefry_2x32(key, (positions[:, None], token_ids))
    uniform = high.astype(jnp.float32) * np.float32(2**-32)
    fine = (low | np.uint32(1)).astype(jnp.float32) * np.float32(2**-64)
    return -jnp.log1p(-jnp.minimum(uniform + fine, _BELOW_ONE))

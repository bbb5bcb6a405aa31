"""What attends to rows' own stretches: a table by device, type and sizes, with the reference wherever it has nothing.

A kernel must tell a row's peak and mass in float32, since its part is merged with the prompt's. That leaves one of
those that come with JAX, `decode_attention` in Pallas for Triton. Not taken are cuDNN's, by
`jax.nn.dot_product_attention`, whose log-sum-exp comes back in bfloat16 (a test shows what that costs), and those for
TPUs, which tell neither peak nor mass of a decoding row. JAX 0.11 announces the end of Triton in Pallas: where the
kernel is no more, the reference is taken.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal, TypeAlias, cast

import jax
import jax.numpy as jnp
import numpy as np

from lite.backends.jax.attention import Part, attend, merge
from lite.errors import BackendError

__all__ = ["KERNELS", "AskedKernel", "KernelName", "attend_by_einsum", "attend_by_pallas", "choose_kernel"]

KernelName: TypeAlias = Literal["einsum", "pallas"]
AskedKernel: TypeAlias = Literal["auto", "einsum", "pallas"]
"""By "auto" the table says which, and the kernel has shown on the device that it is right."""

_log = logging.getLogger(__name__)

_BLOCK_BYTES = 1 << 14  # of keys, and of values, that a kernel holds at once; two of each fit any GPU's shared memory
_SPLIT = 256  # positions; a longer stretch is shared out among blocks of threads
_NEAR = 0.02  # of attended values near 1: a few roundings of bfloat16


def attend_by_einsum(queries: jax.Array, keys: jax.Array, values: jax.Array, first: jax.Array, end: jax.Array) -> Part:
    """queries (g, k, q, d), scaled; keys, values (g, k, p, d); a row sees positions first..end-1, int32 (g,)."""
    place = jnp.arange(keys.shape[2], dtype=jnp.int32)[None]
    visible = (place >= first[:, None]) & (place < end[:, None])
    return attend(queries[:, None], keys, values, visible[:, None])


def attend_by_pallas(
    queries: jax.Array, keys: jax.Array, values: jax.Array, first: jax.Array, end: jax.Array, *, interpret: bool = False
) -> Part:
    """As `attend_by_einsum`, in one pass, and without the positions from `end` on; some lengths go to the reference."""
    rows, _, positions, size = keys.shape
    block, splits = _BLOCK_BYTES // (size * keys.dtype.itemsize), -(-positions // _SPLIT)
    if positions % (block * splits):
        return attend_by_einsum(queries, keys, values, first, end)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # it is not written for strict ones
        total, (mass, peak) = _decode_attention()(
            queries.reshape(rows, -1, size),
            jnp.moveaxis(keys, 1, 2),  # and moved back by the kernel's caller, so that nothing is moved
            jnp.moveaxis(values, 1, 2),
            start_idx=first,
            kv_seq_len=end,
            sm_scale=1.0,
            block_k=block,
            k_splits=splits,
            return_residuals=True,
            normalize_output=False,
            interpret=interpret,
        )
    shape = rows, 1, *queries.shape[1:]
    return Part(
        total=total.astype(jnp.float32).reshape(shape), peak=peak.reshape(shape[:-1]), mass=mass.reshape(shape[:-1])
    )


def _decode_attention() -> Callable[..., Any]:
    """Imported where it is used: Pallas takes a while."""
    from jax.experimental.pallas.ops.gpu.decode_attention import gqa

    return cast(Callable[..., Any], gqa)


KERNELS: Mapping[KernelName, Callable[[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array], Part]] = {
    "einsum": attend_by_einsum,
    "pallas": attend_by_pallas,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """Where a kernel may be taken."""

    platform: str
    least_capability: float
    dtypes: tuple[str, ...]
    head_sizes: tuple[int, ...]
    most_sharing: int  # query heads that share a key-value head


_TABLE: Mapping[KernelName, _Rule] = {
    "pallas": _Rule(
        platform="gpu",
        least_capability=8.0,  # the first to multiply bfloat16
        dtypes=("bfloat16",),
        head_sizes=(64, 128, 256),  # Triton's tiles are powers of two
        most_sharing=16,
    ),
}
"""The first that fits is taken, and else the reference."""


def choose_kernel(
    asked: AskedKernel, device: jax.Device, *, dtype: str, head_size: int, sharing: int, sharded: bool
) -> KernelName:
    """The kernel for a model, whose caches are of `dtype` and whose key-value heads have `sharing` query heads each.

    Raises BackendError where a kernel is asked for by name and cannot be had.
    """
    for name, rule in _TABLE.items():
        if asked in ("auto", name):
            reason = _unfit(rule, device, dtype, head_size, sharing, sharded) or _fault(name, dtype, head_size, sharing)
            if reason is None:
                return name
            if asked == name:
                raise BackendError(f"the attention kernel {name} {reason}; 'auto' takes one that can be had")
            _log.info("the attention kernel %s %s: einsum is taken", name, reason)
    return "einsum"


def _unfit(rule: _Rule, device: jax.Device, dtype: str, head_size: int, sharing: int, sharded: bool) -> str | None:
    """Why not, in words that go on from the kernel's name."""
    capability = str(getattr(device, "compute_capability", ""))
    known = re.fullmatch(r"\d+\.\d+", capability)
    if device.platform != rule.platform or known is None:
        return f"is for NVIDIA GPUs, not for the platform {device.platform!r}"
    if float(capability) < rule.least_capability:
        return f"needs compute capability {rule.least_capability}, this GPU has {capability}"
    if dtype not in rule.dtypes:
        return f"is for {', '.join(rule.dtypes)}, not for {dtype}"
    if head_size not in rule.head_sizes or sharing > rule.most_sharing:
        sizes = ", ".join(map(str, rule.head_sizes))
        return f"is for heads of {sizes} shared by up to {rule.most_sharing}, not for {head_size} shared by {sharing}"
    return "works on one device, not on a mesh" if sharded else None


@cache
def _fault(name: KernelName, dtype: str, head_size: int, sharing: int) -> str | None:
    """What is wrong with a kernel on the default device, where it is compared with the reference once."""
    generator = np.random.default_rng(0)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(generator.standard_normal(shape, np.float32), jnp.dtype(dtype))

    kv_heads, positions = 2, 2 * _SPLIT
    queries = normal(4, kv_heads, sharing, head_size) * jnp.asarray(head_size**-0.5, jnp.dtype(dtype))
    keys, values = (normal(4, kv_heads, positions, head_size) for _ in range(2))
    others = normal(4, kv_heads, 2, head_size)  # few, so that one position too many or too few shows
    first, end = (jnp.asarray(each, jnp.int32) for each in ((0, 0, 0, 300), (positions, 7, 0, 301)))

    @partial(jax.jit, static_argnums=0)
    def attended(name: KernelName) -> jax.Array:
        beside = attend(queries[:, None], others, others, jnp.ones((4, 1, 2), bool))
        return merge([KERNELS[name](queries, keys, values, first, end), beside])

    try:
        difference = float(jnp.abs(attended(name) - attended("einsum")).max())
    except Exception as error:  # noqa: BLE001  # whatever a compiler or a device raises, the reference will do
        return f"fails ({' '.join(str(error).split())[:200]})"
    return None if difference <= _NEAR else f"is off by {difference:.3g}"

"""Attention kernels of the JAX engine: each is the reference, and each lowers for the device that it is for."""

import logging
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("jax", reason="the extra 'jax' is not installed")

import jax
import jax.numpy as jnp

from lite.backends.jax import attention_kernels
from lite.backends.jax.attention import Part, attend, merge
from lite.backends.jax.attention_kernels import attend_by_einsum, attend_by_pallas, choose_kernel
from lite.errors import BackendError

KV_HEADS = 2
MODEL = {"dtype": "bfloat16", "head_size": 128, "sharing": 2, "sharded": False}


def random_stretch(positions: int, *, rows: int, sharing: int, size: int, seed: int = 0) -> tuple[jax.Array, ...]:
    """Queries, keys and values of a few rows."""
    generator = np.random.default_rng(seed)
    shapes = ((rows, KV_HEADS, sharing, size), *[(rows, KV_HEADS, positions, size)] * 2)
    queries, keys, values = (jnp.asarray(generator.standard_normal(shape), jnp.float32) for shape in shapes)
    return queries * size**-0.5, keys, values


def gpu(capability: str = "9.0") -> SimpleNamespace:
    return SimpleNamespace(platform="gpu", compute_capability=capability)


@pytest.mark.parametrize(
    ("positions", "sharing", "size"),
    [(128, 7, 128), (512, 2, 64), (384, 1, 256), (100, 2, 64)],
)
def test_a_kernel_gives_the_reference_part_for_ragged_windowed_and_empty_rows(
    positions: int, sharing: int, size: int
) -> None:
    generator = np.random.default_rng(positions)
    queries, *own = random_stretch(positions, rows=6, sharing=sharing, size=size)
    _, *others = random_stretch(3, rows=6, sharing=sharing, size=size, seed=1)
    first = np.array([0, 0, 0, positions - 1, *generator.integers(0, positions, 2)], np.int32)
    end = np.array([positions, 1, 0, positions, *(first[4:] + generator.integers(1, 90, 2))], np.int32)

    @jax.jit
    def attended() -> list[list[jax.Array]]:
        """By both: alone, and merged with another stretch."""
        beside = attend(queries[:, None], *others, jnp.ones((6, 1, 3), bool))
        bounds = jnp.asarray(first), jnp.asarray(end)
        ways = partial(attend_by_pallas, interpret=True), attend_by_einsum
        return [[merge([part]), merge([part, beside])] for part in (way(queries, *own, *bounds) for way in ways)]

    found, expected = attended()
    np.testing.assert_allclose(found[1], expected[1], atol=1e-5)
    seen = np.flatnonzero(end > first)
    np.testing.assert_allclose(found[0][seen], expected[0][seen], atol=1e-5)


@pytest.mark.parametrize(("positions", "sharing", "size"), [(128, 7, 64), (1024, 2, 256)])
def test_the_kernel_lowers_for_cuda(positions: int, sharing: int, size: int) -> None:
    """To Triton's own program, for types and sizes of the table; only a device can compile that."""
    stretch = (array.astype(jnp.bfloat16) for array in random_stretch(positions, rows=3, sharing=sharing, size=size))
    bound = jnp.zeros(3, jnp.int32)
    lowered = jax.jit(attend_by_pallas).trace(*stretch, bound, bound).lower(lowering_platforms=("cuda",))
    assert "__gpu$xla.gpu.triton" in lowered.as_text()


def test_the_attention_of_jax_nn_is_not_exact_enough_to_be_merged() -> None:
    """Why it is not in the table: cuDNN's and XLA's way alike round the log-sum-exp to the type of the keys."""
    rows, positions, sharing, size = 6, 100, 2, 64
    stretches = [random_stretch(positions, rows=rows, sharing=sharing, size=size, seed=seed) for seed in (0, 1)]
    exact = [*stretches[0], *stretches[1][1:]]
    visible = jnp.ones((rows, 1, positions), bool)

    def by_reference(queries: jax.Array, *stretch: jax.Array) -> Part:
        return attend(queries[:, None], *stretch, visible)

    def by_library(queries: jax.Array, *stretch: jax.Array) -> Part:
        lines, turned = queries.reshape(rows, 1, -1, size), (jnp.moveaxis(array, 1, 2) for array in stretch)
        with (
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
        ):
            found = jax.nn.dot_product_attention(lines, *turned, scale=1.0, return_residual=True)
        assert found[1].dtype == jnp.bfloat16
        total, peak = (array.astype(jnp.float32).reshape(rows, 1, KV_HEADS, sharing, -1) for array in found)
        return Part(total=total, peak=peak[..., 0], mass=jnp.ones(peak.shape[:-1]))

    @jax.jit
    def errors() -> list[jax.Array]:
        short = [array.astype(jnp.bfloat16) for array in exact]
        wide = [array.astype(jnp.float32) for array in short]
        best = merge([by_reference(*wide[:3]), by_reference(wide[0], *wide[3:])])
        beside = by_reference(short[0], *short[3:])
        return [jnp.abs(merge([way(*short[:3]), beside]) - best).max() for way in (by_library, by_reference)]

    library, reference = errors()
    assert library > 3 * reference


# The table


@pytest.mark.parametrize(
    ("device", "changes", "reason"),
    [
        (SimpleNamespace(platform="cpu"), {}, "for NVIDIA GPUs, not for the platform 'cpu'"),
        (SimpleNamespace(platform="tpu"), {}, "not for the platform 'tpu'"),
        (gpu("gfx942"), {}, "for NVIDIA GPUs"),
        (gpu("7.5"), {}, "needs compute capability 8.0, this GPU has 7.5"),
        (gpu(), {"dtype": "float32"}, "is for bfloat16, not for float32"),
        (gpu(), {"head_size": 80}, "not for 80 shared by 2"),
        (gpu(), {"sharing": 32}, "not for 128 shared by 32"),
        (gpu(), {"sharded": True}, "not on a mesh"),
    ],
)
def test_where_a_kernel_does_not_fit_the_reference_is_taken(
    device: SimpleNamespace, changes: dict, reason: str
) -> None:
    assert choose_kernel("auto", device, **MODEL | changes) == "einsum"
    with pytest.raises(BackendError, match=reason):
        choose_kernel("pallas", device, **MODEL | changes)


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (lambda *stretch: attend_by_einsum(*stretch), None),
        (
            lambda queries, keys, values, first, end: attend_by_einsum(queries, keys, values, first, end + 1),
            "is off by",
        ),
        (attend_by_pallas, "fails (Only interpret mode is supported on CPU"),
    ],
)
def test_a_kernel_is_taken_once_it_has_shown_on_the_device_that_it_is_right(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kernel: object, reason: str | None
) -> None:
    """The device is the one of the tests; the last kernel is that of the table, which a CPU cannot run."""
    monkeypatch.setitem(attention_kernels.KERNELS, "pallas", kernel)
    attention_kernels._fault.cache_clear()
    caplog.set_level(logging.INFO, "lite")
    assert choose_kernel("auto", gpu(), **MODEL) == ("einsum" if reason else "pallas")
    assert len(caplog.messages) == bool(reason)
    assert all(f"pallas {reason}" in message for message in caplog.messages)
    assert choose_kernel("einsum", gpu(), **MODEL) == "einsum"
    attention_kernels._fault.cache_clear()

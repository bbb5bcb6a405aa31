"""From a model file to weights on the devices, tensor by tensor, so that the host never holds a second model.

A matrix is made block by block, one for each place that it is split over: a host reads of a mapped file what its own
devices hold, and has the largest matrix in memory at most.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike, NDArray

from lite.backends.jax.mesh import Axes, Placement
from lite.backends.jax.model import Layer, Rotations, Weights, rotation_tables
from lite.backends.jax.quantised import Matrix, QTensor, quantise
from lite.errors import ModelError
from lite.models import ModelConfig
from lite.quant.gguf_config import expected_shapes

__all__ = ["TensorSource", "load_weights", "parameter_shapes", "with_rotations"]

_Array: TypeAlias = NDArray[Any]
_Index: TypeAlias = tuple[slice, ...]
_Read: TypeAlias = Callable[[_Index], _Array]
_Put: TypeAlias = Callable[[tuple[int, ...], DTypeLike, Axes, _Read], Any]

_CHECKED_AT_ONCE = 1 << 18  # numbers: what the processor's cache holds


class TensorSource(Protocol):
    """What a `GGUFFile` and an `HFFolder` are: dimensions, and tensors by GGUF's names, (out, in) for a matrix."""

    @property
    def config(self) -> ModelConfig: ...

    @property
    def tensors(self) -> Mapping[str, object]: ...

    def tensor(self, name: str) -> _Array:
        """Of any floating-point type; it is copied before the file may be closed."""
        ...


def load_weights(
    source: TensorSource, placement: Placement, *, dtype: str, integers: bool, num_positions: int
) -> Weights:
    """Put a model on the devices. `dtype` is of activations, cache and matrices; these may be `integers` instead.

    `num_positions` is how long a context may be. Raises ModelError for numbers that are not finite.
    """
    parameters = _Loader(source, _Blocks(placement).put, jnp.dtype(dtype), integers).parameters()
    return with_rotations(parameters, source.config, placement, dtype=dtype, num_positions=num_positions)


def parameter_shapes(config: ModelConfig, placement: Placement, *, dtype: str, integers: bool) -> dict[str, Any]:
    """Of the `Weights` that a model has by these: the fields that are learnt, each array as what is to be where."""

    def put(shape: tuple[int, ...], kind: DTypeLike, axes: Axes, read: _Read) -> jax.ShapeDtypeStruct:
        sharding = placement.sharding(shape, axes)
        return jax.ShapeDtypeStruct(shape, kind, sharding=sharding)  # type: ignore[no-untyped-call]

    source = _Shapes(replace(config, rope_interleaved=False))
    return _Loader(source, put, jnp.dtype(dtype), integers).parameters()


def with_rotations(
    parameters: Mapping[str, Any], config: ModelConfig, placement: Placement, *, dtype: str, num_positions: int
) -> Weights:
    """The weights: what is learnt, and the tables, which depend on how long a context may be."""

    def table(local: bool) -> Rotations:
        cosines, sines = rotation_tables(config, num_positions, local=local)
        return Rotations(cosines=placement.put(cosines, (None, None)), sines=placement.put(sines, (None, None)))

    return Weights(
        **parameters,
        rotations=table(local=False),
        local_rotations=table(local=True) if any(config.local_layers) else None,
        dtype=dtype,
    )


@dataclass(frozen=True, slots=True)
class _Shapes:
    """A source without numbers, for their shapes."""

    config: ModelConfig

    @property
    def tensors(self) -> Mapping[str, tuple[int, ...]]:
        return expected_shapes(self.config)

    def tensor(self, name: str) -> _Array:
        return np.broadcast_to(np.float32(0), self.tensors[name])


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Puts arrays in their place, each device's part on its own."""

    placement: Placement

    def put(self, shape: tuple[int, ...], dtype: DTypeLike, axes: Axes, read: _Read) -> jax.Array:
        sharding = self.placement.sharding(shape, axes)
        if sharding is None:
            return self.placement.put(read((slice(None),) * len(shape)), axes)
        blocks: dict[str, _Array] = {}  # devices with the same part share it

        def block(index: _Index | None) -> _Array:
            assert index is not None
            return blocks[str(index)] if str(index) in blocks else blocks.setdefault(str(index), read(index))

        return jax.make_array_from_callback(shape, sharding, block)


@dataclass(frozen=True, slots=True)
class _Loader:
    """Tensors of a file, fused, transposed and handed to `put` by shape, type, axes and what reads a part."""

    source: TensorSource
    put: _Put
    dtype: jnp.dtype
    integers: bool

    def parameters(self) -> dict[str, Any]:
        config = self.source.config
        return {
            "embedding": self._table("token_embd.weight"),
            "layers": tuple(self._layer(f"blk.{index}.") for index in range(config.num_layers)),
            "final_norm": self._vector("output_norm.weight"),
            "head": None if config.tied_embeddings else self._table("output.weight"),
        }

    def _layer(self, prefix: str) -> Layer:
        return Layer(
            attention_norm=self._vector(f"{prefix}attn_norm.weight"),
            query_key_value=self._query_key_value(prefix),
            query_key_value_bias=self._bias(prefix),
            query_norm=self._head_norm(f"{prefix}attn_q_norm.weight"),
            key_norm=self._head_norm(f"{prefix}attn_k_norm.weight"),
            output=self._transposed(f"{prefix}attn_output.weight"),
            attention_update_norm=self._optional(f"{prefix}post_attention_norm.weight"),
            feed_forward_norm=self._vector(f"{prefix}ffn_norm.weight"),
            gate_up=self._gate_up(prefix),
            down=self._transposed(f"{prefix}ffn_down.weight"),
            feed_forward_update_norm=self._optional(f"{prefix}post_ffw_norm.weight"),
        )

    def _table(self, name: str) -> Matrix:
        """The embedding or the head, (vocab, hidden)."""
        return self._matrix(_Parts([name], [self.source.tensor(name)], 1), ("model", None), sums_over=1)

    def _transposed(self, name: str) -> Matrix:
        return self._matrix(_Parts([name], [self.source.tensor(name).T], 1), ("model", None))

    def _query_key_value(self, prefix: str) -> Matrix:
        joint = self._by_head([f"{prefix}attn_{part}.weight" for part in "qkv"])
        parts = [np.moveaxis(part, -1, 0) for part in joint.arrays]
        return self._matrix(_Parts(joint.names, parts, 2), (None, "model", None, None))

    def _gate_up(self, prefix: str) -> Matrix:
        names = [f"{prefix}ffn_{part}.weight" for part in ("gate", "up")]
        parts = [self.source.tensor(name).T[:, None] for name in names]
        return self._matrix(_Parts(names, parts, 1), (None, None, "model"))

    def _bias(self, prefix: str) -> Any:
        names = [f"{prefix}attn_{part}.bias" for part in "qkv"]
        return self._whole(self._by_head(names), ("model", None, None)) if names[0] in self.source.tensors else None

    def _vector(self, name: str) -> Any:
        """A norm's gain, float32."""
        return self._whole(_Parts([name], [self.source.tensor(name)], 0), (None,))

    def _optional(self, name: str) -> Any:
        return self._vector(name) if name in self.source.tensors else None

    def _head_norm(self, name: str) -> Any:
        if name not in self.source.tensors:
            return None
        return self._whole(_Parts([name], [self._halves(self.source.tensor(name)).reshape(-1)], 0), (None,))

    def _by_head(self, names: Sequence[str]) -> "_Parts":
        """Three projections' rows (or biases) by key-value head, to become (kv heads, q + 2, head_dim, ...)."""
        config = self.source.config
        query, key, value = (self.source.tensor(name) for name in names)
        shape = (config.num_kv_heads, -1, config.head_dim, *query.shape[1:])
        parts = (self._halves(query), self._halves(key), value)
        return _Parts(names, [part.reshape(shape) for part in parts], 1)

    def _halves(self, rows: _Array) -> _Array:
        """Rows of heads, each with its rotary pairs as two halves."""
        if not self.source.config.rope_interleaved:
            return rows
        pairs = rows.reshape(-1, self.source.config.head_dim // 2, 2, *rows.shape[1:])
        return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows.shape)

    def _whole(self, parts: "_Parts", axes: Axes) -> Any:
        return self.put(parts.shape, np.float32, axes, lambda index: parts.read(index, np.float32))

    def _matrix(self, parts: "_Parts", axes: Axes, sums_over: int = 0) -> Matrix:
        if not self.integers:
            matrix: jax.Array = self.put(parts.shape, self.dtype, axes, lambda index: parts.read(index, self.dtype))
            return matrix
        quantised = cache(lambda: quantise(parts.read((), np.dtype(np.float32)), sums_over))
        shape = parts.shape[:sums_over] + parts.shape[sums_over + 1 :]
        scale_axes = axes[:sums_over] + axes[sums_over + 1 :]
        return QTensor(
            codes=self.put(parts.shape, np.int8, axes, lambda index: quantised()[0][index]),
            scales=self.put(shape, np.float32, scale_axes, lambda index: quantised()[1][index]),
        )


@dataclass(frozen=True, slots=True)
class _Parts:
    """Tensors that become one, side by side along an axis that is never split."""

    names: Sequence[str]
    arrays: Sequence[_Array]
    axis: int

    @property
    def shape(self) -> tuple[int, ...]:
        return _joint_shape(self.arrays, self.axis)

    def read(self, index: _Index, dtype: DTypeLike) -> _Array:
        """A block in memory of its own; `()` is the whole. Raises ModelError for numbers that are not finite."""
        pieces = [array[(*index[: self.axis], slice(None), *index[self.axis + 1 :])] for array in self.arrays]
        block = np.empty(_joint_shape(pieces, self.axis), dtype)
        with np.errstate(over="ignore"):
            np.concatenate(pieces, self.axis, out=block, casting="unsafe")
        if not _is_finite(block):
            names = " or ".join(map(repr, self.names))
            raise ModelError(f"the tensor {names} holds numbers that {np.dtype(dtype)} cannot: download it again")
        return block


def _joint_shape(arrays: Sequence[_Array], axis: int) -> tuple[int, ...]:
    first = arrays[0].shape
    return (*first[:axis], sum(array.shape[axis] for array in arrays), *first[axis + 1 :])


def _is_finite(block: _Array) -> bool:
    """Whether all numbers are; in float32, whose check is the fastest by far."""
    numbers = block.reshape(-1)
    parts = (numbers[start : start + _CHECKED_AT_ONCE] for start in range(0, numbers.size, _CHECKED_AT_ONCE))
    return all(np.isfinite(part.astype(np.float32, copy=False)).all() for part in parts)

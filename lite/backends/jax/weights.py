"""From a model file to weights on the devices, tensor by tensor, so that the host never holds a second model."""

from collections.abc import Mapping
from typing import Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from lite.backends.jax.mesh import Axes, Placement
from lite.backends.jax.model import Layer, Rotations, Weights, rotation_tables
from lite.backends.jax.quantised import Matrix, QTensor, quantise
from lite.models import ModelConfig

__all__ = ["TensorSource", "load_weights"]

_Tensor: TypeAlias = NDArray[np.float32]


class TensorSource(Protocol):
    """What a `GGUFFile` is: dimensions, and tensors by GGUF's names, (out, in) for a matrix."""

    @property
    def config(self) -> ModelConfig: ...

    @property
    def tensors(self) -> Mapping[str, object]: ...

    def tensor(self, name: str) -> _Tensor:
        """A fresh float32 array."""
        ...


def load_weights(
    source: TensorSource, placement: Placement, *, dtype: str, integers: bool, num_positions: int
) -> Weights:
    """Put a model on the devices. `dtype` is of activations, cache and matrices; these may be `integers` instead.

    `num_positions` is how long a context may be.
    """
    config, loader = source.config, _Loader(source, placement, dtype, integers)
    return Weights(
        embedding=loader.table("token_embd.weight"),
        layers=tuple(loader.layer(f"blk.{index}.") for index in range(config.num_layers)),
        final_norm=loader.required("output_norm.weight"),
        head=None if config.tied_embeddings else loader.table("output.weight"),
        rotations=loader.rotations(num_positions, local=False),
        local_rotations=loader.rotations(num_positions, local=True) if any(config.local_layers) else None,
        dtype=dtype,
    )


class _Loader:
    """Tensors of a file, fused, transposed and put in their place."""

    def __init__(self, source: TensorSource, placement: Placement, dtype: str, integers: bool) -> None:
        self._source = source
        self._placement = placement
        self._dtype = jnp.dtype(dtype)
        self._integers = integers

    def layer(self, prefix: str) -> Layer:
        query, key, value = (self._source.tensor(f"{prefix}attn_{part}.weight") for part in "qkv")
        return Layer(
            attention_norm=self.required(f"{prefix}attn_norm.weight"),
            query_key_value=self._matrix(
                np.moveaxis(self._joint(query, key, value), -1, 0), (None, "model", None, None)
            ),
            query_key_value_bias=self._bias(prefix),
            query_norm=self._head_norm(f"{prefix}attn_q_norm.weight"),
            key_norm=self._head_norm(f"{prefix}attn_k_norm.weight"),
            output=self._matrix(self._source.tensor(f"{prefix}attn_output.weight").T, ("model", None)),
            attention_update_norm=self._optional(f"{prefix}post_attention_norm.weight"),
            feed_forward_norm=self.required(f"{prefix}ffn_norm.weight"),
            gate_up=self._matrix(self._gate_up(prefix), (None, None, "model")),
            down=self._matrix(self._source.tensor(f"{prefix}ffn_down.weight").T, ("model", None)),
            feed_forward_update_norm=self._optional(f"{prefix}post_ffw_norm.weight"),
        )

    def table(self, name: str) -> Matrix:
        """The embedding or the head, (vocab, hidden)."""
        return self._matrix(self._source.tensor(name), ("model", None), sums_over=1)

    def required(self, name: str) -> jax.Array:
        """A norm's gain, float32."""
        values = self._source.tensor(name)
        return self._placement.put(values, (None,) * values.ndim)

    def rotations(self, num_positions: int, *, local: bool) -> Rotations:
        cosines, sines = rotation_tables(self._source.config, num_positions, local=local)
        return Rotations(
            cosines=self._placement.put(cosines, (None, None)), sines=self._placement.put(sines, (None, None))
        )

    def _optional(self, name: str) -> jax.Array | None:
        return self.required(name) if name in self._source.tensors else None

    def _head_norm(self, name: str) -> jax.Array | None:
        if name not in self._source.tensors:
            return None
        return self._placement.put(self._halves(self._source.tensor(name)).reshape(-1), (None,))

    def _bias(self, prefix: str) -> jax.Array | None:
        if f"{prefix}attn_q.bias" not in self._source.tensors:
            return None
        joint = self._joint(*(self._source.tensor(f"{prefix}attn_{part}.bias") for part in "qkv"))
        return self._placement.put(joint, ("model", None, None))

    def _joint(self, query: _Tensor, key: _Tensor, value: _Tensor) -> _Tensor:
        """Three projections' rows (or biases) by key-value head: (kv heads, q + 2, head_dim, ...)."""
        config = self._source.config
        shape = (config.num_kv_heads, -1, config.head_dim, *query.shape[1:])
        parts = (self._halves(query), self._halves(key), value)
        return np.concatenate([part.reshape(shape) for part in parts], axis=1)

    def _halves(self, rows: _Tensor) -> _Tensor:
        """Rows of heads, each with its rotary pairs as two halves."""
        if not self._source.config.rope_interleaved:
            return rows
        pairs = rows.reshape(-1, self._source.config.head_dim // 2, 2, *rows.shape[1:])
        return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows.shape)

    def _gate_up(self, prefix: str) -> _Tensor:
        gate, up = (self._source.tensor(f"{prefix}ffn_{part}.weight") for part in ("gate", "up"))
        return np.stack([gate.T, up.T], axis=1)

    def _matrix(self, values: _Tensor, axes: Axes, sums_over: int = 0) -> Matrix:
        if not self._integers:
            return self._placement.put(np.ascontiguousarray(values, self._dtype), axes)
        codes, scales = quantise(values, sums_over)
        scale_axes = axes[:sums_over] + axes[sums_over + 1 :]
        return QTensor(
            codes=self._placement.put(np.ascontiguousarray(codes), axes), scales=self._placement.put(scales, scale_axes)
        )

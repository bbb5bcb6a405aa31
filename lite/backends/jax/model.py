"""A Llama, Qwen2, Qwen3 or Gemma 3 decoder as pure functions of plain pytrees.

Activations are (n, hidden), where n counts the tokens of one position of many rows, or of many positions of one row:
only the attention, which the caller gives, knows which. Matrices that read the same activations are stored as one, by
key-value head, so that heads can be split among devices.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.tree_util import register_dataclass
from numpy.typing import NDArray

from lite.backends.jax.compilation import traced_once
from lite.backends.jax.quantised import Matrix, lookup, multiply, multiply_transposed
from lite.models import ModelConfig

__all__ = ["Attention", "Layer", "Rotations", "Weights", "decode_hidden", "logits_of", "rotation_tables"]

Attention: TypeAlias = Callable[[int, jax.Array, jax.Array, jax.Array], jax.Array]
"""(layer, queries (n, k, q, d), keys (n, k, d), values (n, k, d)) -> attended (n, k, q, d).

k counts key-value heads, q the query heads that share one, d is the head size; queries are scaled, keys rotated.
"""


@register_dataclass
@dataclass(frozen=True)
class Layer:
    """One layer; what an architecture does not have is None. Norms' gains and biases are float32."""

    attention_norm: jax.Array  # (hidden,)
    query_key_value: Matrix  # (hidden, kv heads, q + 2, head_dim): the queries of a kv head, its key, its value
    query_key_value_bias: jax.Array | None  # (kv heads, q + 2, head_dim)
    query_norm: jax.Array | None  # (head_dim,)
    key_norm: jax.Array | None  # (head_dim,)
    output: Matrix  # (heads * head_dim, hidden)
    attention_update_norm: jax.Array | None  # (hidden,)
    feed_forward_norm: jax.Array  # (hidden,)
    gate_up: Matrix  # (hidden, 2, intermediate)
    down: Matrix  # (intermediate, hidden)
    feed_forward_update_norm: jax.Array | None  # (hidden,)


@register_dataclass
@dataclass(frozen=True)
class Rotations:
    """Cosines and sines (positions, head_dim / 2) of the rotary embedding, float32 (arXiv:2104.09864)."""

    cosines: jax.Array
    sines: jax.Array


@register_dataclass
@dataclass(frozen=True)
class Weights:
    """A model."""

    embedding: Matrix  # (vocab, hidden)
    layers: tuple[Layer, ...]
    final_norm: jax.Array  # (hidden,)
    head: Matrix | None  # (vocab, hidden); None: the embedding's
    rotations: Rotations
    local_rotations: Rotations | None  # of local layers, which have a base of their own
    dtype: str = field(metadata={"static": True})  # of activations and cache: "float32", "bfloat16"


def rotation_tables(config: ModelConfig, num_positions: int, *, local: bool) -> tuple[NDArray[np.float32], ...]:
    """Cosines and sines of the positions' angles: computed in float64, as a float32 angle would be off by 1e-4."""
    pairs = config.head_dim // 2
    frequencies = (config.local_rope_theta if local else config.rope_theta) ** (-np.arange(pairs) / pairs)
    if config.rope_factors and not local:
        frequencies = frequencies / np.array(config.rope_factors)
    angles = np.outer(np.arange(num_positions), frequencies)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def decode_hidden(
    config: ModelConfig, weights: Weights, ids: jax.Array, positions: jax.Array, attention: Attention
) -> jax.Array:
    """The normed hidden states (n, hidden) of tokens `ids` at `positions`, both int32 (n,)."""
    hidden = lookup(weights.embedding, ids, jnp.dtype(weights.dtype))
    if config.embedding_scale != 1:
        hidden = hidden * jnp.asarray(config.embedding_scale, hidden.dtype)
    rotations = _at(weights.rotations, positions)
    local_rotations = rotations if weights.local_rotations is None else _at(weights.local_rotations, positions)
    for index, layer in enumerate(weights.layers):
        turns = local_rotations if config.is_local(index) else rotations
        attended = attention(index, *_heads(config, layer, hidden, turns))
        hidden = hidden + _projected(config, layer, attended.reshape(len(hidden), -1).astype(hidden.dtype))
        hidden = hidden + _fed_forward(config, layer, hidden)
    return _norm(hidden, weights.final_norm, config)


def logits_of(weights: Weights, hidden: jax.Array) -> jax.Array:
    """Float32 logits (n, vocab) of normed hidden states."""
    return multiply_transposed(hidden, weights.embedding if weights.head is None else weights.head)


@traced_once("config")
def _heads(
    config: ModelConfig, layer: Layer, hidden: jax.Array, turns: Rotations
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What an `Attention` takes."""
    joint = multiply(_norm(hidden, layer.attention_norm, config), layer.query_key_value)
    if layer.query_key_value_bias is not None:
        joint = joint + layer.query_key_value_bias[None].astype(joint.dtype)
    queries, keys, values = joint[:, :, :-2], joint[:, :, -2:-1], joint[:, :, -1]
    if layer.query_norm is not None and layer.key_norm is not None:
        queries, keys = _norm(queries, layer.query_norm, config), _norm(keys, layer.key_norm, config)
    queries = _rotated(queries, turns) * jnp.asarray(config.attention_scale, queries.dtype)
    return queries, _rotated(keys, turns)[:, :, 0], values


@traced_once("config")
def _projected(config: ModelConfig, layer: Layer, attended: jax.Array) -> jax.Array:
    update = multiply(attended, layer.output)
    return update if layer.attention_update_norm is None else _norm(update, layer.attention_update_norm, config)


@traced_once("config")
def _fed_forward(config: ModelConfig, layer: Layer, hidden: jax.Array) -> jax.Array:
    joint = multiply(_norm(hidden, layer.feed_forward_norm, config), layer.gate_up)
    gate, up = joint[:, 0], joint[:, 1]
    opened = jax.nn.gelu(gate, approximate=True) if config.is_gemma else jax.nn.silu(gate)
    update = multiply(opened * up, layer.down)
    return update if layer.feed_forward_update_norm is None else _norm(update, layer.feed_forward_update_norm, config)


def _norm(values: jax.Array, gain: jax.Array, config: ModelConfig) -> jax.Array:
    """Root mean square over the last axis, computed in float32 (arXiv:1910.07467)."""
    wide = values.astype(jnp.float32)
    scaled = wide * lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + config.rms_norm_eps)
    return (scaled * gain.astype(jnp.float32).reshape((1,) * (values.ndim - 1) + gain.shape)).astype(values.dtype)


def _at(rotations: Rotations, positions: jax.Array) -> Rotations:
    return Rotations(cosines=rotations.cosines[positions], sines=rotations.sines[positions])


def _rotated(heads: jax.Array, turns: Rotations) -> jax.Array:
    """Heads (n, k, q, d), whose first half pairs with the second, turned by (n, d / 2)."""
    cosine, sine = turns.cosines[:, None, None], turns.sines[:, None, None]
    first, second = jnp.split(heads.astype(jnp.float32), 2, axis=-1)
    turned = [first * cosine - second * sine, second * cosine + first * sine]
    return jnp.concatenate(turned, axis=-1).astype(heads.dtype)

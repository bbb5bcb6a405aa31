"""A decoder in float64 NumPy, written for reading: what every engine's logits are compared with."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lite.models import ModelConfig
from lite.quant.gguf import GGUFFile

__all__ = ["dequantised", "int8_row_product", "logits", "q4_product", "q8_product"]

Array = NDArray[np.float64]
Product = Callable[[Array, Array, bool], Array]


def logits(file: GGUFFile, ids: Sequence[int], product: Product | None = None) -> Array:
    """Of every position, (len(ids), vocab). `product(rows, matrix, is_head)` stands in for `rows @ matrix.T`."""
    multiply = product or (lambda rows, matrix, is_head: rows @ matrix.T)
    config = file.config
    embedding = _tensor(file, "token_embd.weight")
    hidden = (embedding if product is None else dequantised(embedding, 8))[list(ids)]
    hidden = hidden * config.embedding_scale
    for layer in range(config.num_layers):
        hidden = hidden + _update(file, layer, "post_attention_norm", _attention(file, layer, hidden, multiply))
        hidden = hidden + _update(file, layer, "post_ffw_norm", _feed_forward(file, layer, hidden, multiply))
    head = embedding if config.tied_embeddings else _tensor(file, "output.weight")
    return multiply(_norm(hidden, _tensor(file, "output_norm.weight"), config.rms_norm_eps), head, True)


def dequantised(matrix: Array, bits: int) -> Array:
    """A matrix after a round trip through blocks of 32, as `lite.quant.packing.pack_blocks` describes it."""
    zero = 2 ** (bits - 1)
    blocks = _in_blocks(matrix)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[..., None], -1)
    scales = largest / -zero if bits == 4 else np.abs(largest) / (zero - 1)
    codes = np.clip(np.rint(blocks / np.where(scales == 0, 1, scales)), -zero, zero - 1)
    values: Array = (codes * scales).reshape(len(matrix), -1)
    return values[:, : matrix.shape[1]]


def q4_product(rows: Array, matrix: Array, is_head: bool) -> Array:
    """Four-bit weights (a head: eight), activations rounded to eight bits in blocks of 32."""
    return _rounded_blocks(rows) @ dequantised(matrix, 8 if is_head else 4).T


def q8_product(rows: Array, matrix: Array, is_head: bool) -> Array:
    """Eight-bit weights, activations rounded to eight bits in blocks of 32."""
    return _rounded_blocks(rows) @ dequantised(matrix, 8).T


def int8_row_product(rows: Array, matrix: Array, is_head: bool) -> Array:
    """One scale a row, of the weights and of the activations."""
    return _rounded_rows(rows) @ _rounded_rows(matrix).T


def _attention(file: GGUFFile, layer: int, hidden: Array, multiply: Product) -> Array:
    config = file.config
    normed = _norm(hidden, _tensor(file, f"blk.{layer}.attn_norm.weight"), config.rms_norm_eps)
    query, key, value = (_heads(file, layer, part, normed, multiply) for part in "qkv")
    groups = config.num_heads // config.num_kv_heads
    local = config.is_local(layer)
    key, value = np.repeat(_rotated(key, config, local), groups, axis=1), np.repeat(value, groups, axis=1)
    scores = np.einsum("qhd,khd->hqk", _rotated(query, config, local), key) * config.attention_scale
    scores = np.where(_visible(len(hidden), config.sliding_window if local else len(hidden)), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    attended = np.einsum("hqk,khd->qhd", weights / weights.sum(-1, keepdims=True), value)
    return multiply(attended.reshape(len(hidden), -1), _tensor(file, f"blk.{layer}.attn_output.weight"), False)


def _update(file: GGUFFile, layer: int, norm: str, update: Array) -> Array:
    """What a layer adds: with Gemma, normed."""
    name = f"blk.{layer}.{norm}.weight"
    return _norm(update, _tensor(file, name), file.config.rms_norm_eps) if name in file.tensors else update


def _visible(length: int, window: int) -> NDArray[np.bool_]:
    """(query, key): the last `window` positions, the query's own included."""
    distance = np.arange(length)[:, None] - np.arange(length)
    return (distance >= 0) & (distance < window)


def _heads(file: GGUFFile, layer: int, part: str, normed: Array, multiply: Product) -> Array:
    """(positions, heads, head_dim) of the query, key or value, with bias and head norm where the model has them."""
    config = file.config
    rows = multiply(normed, _tensor(file, f"blk.{layer}.attn_{part}.weight"), False)
    if f"blk.{layer}.attn_{part}.bias" in file.tensors:
        rows = rows + _tensor(file, f"blk.{layer}.attn_{part}.bias")
    heads = rows.reshape(len(rows), -1, config.head_dim)
    if f"blk.{layer}.attn_{part}_norm.weight" in file.tensors:
        heads = _norm(heads, _tensor(file, f"blk.{layer}.attn_{part}_norm.weight"), config.rms_norm_eps)
    return heads


def _rotated(heads: Array, config: ModelConfig, local: bool) -> Array:
    """arXiv:2104.09864; pairs are neighbours (llama) or half a head apart (the others)."""
    pairs = config.head_dim // 2
    theta = config.local_rope_theta if local else config.rope_theta
    factors = () if local else config.rope_factors
    frequencies = theta ** (-np.arange(pairs) / pairs) / np.array(factors or 1.0)
    turns = np.exp(1j * np.outer(np.arange(len(heads)), frequencies))[:, None, :]
    if config.rope_interleaved:
        turned = (heads[..., 0::2] + 1j * heads[..., 1::2]) * turns
        return np.stack([turned.real, turned.imag], axis=-1).reshape(heads.shape)
    turned = (heads[..., :pairs] + 1j * heads[..., pairs:]) * turns
    return np.concatenate([turned.real, turned.imag], axis=-1)


def _feed_forward(file: GGUFFile, layer: int, hidden: Array, multiply: Product) -> Array:
    gate, up, down = (_tensor(file, f"blk.{layer}.ffn_{part}.weight") for part in ("gate", "up", "down"))
    normed = _norm(hidden, _tensor(file, f"blk.{layer}.ffn_norm.weight"), file.config.rms_norm_eps)
    gated = multiply(normed, gate, False)
    opened = _gelu(gated) if file.config.is_gemma else gated / (1 + np.exp(-gated))
    return multiply(opened * multiply(normed, up, False), down, False)


def _gelu(rows: Array) -> Array:
    """The approximation by a hyperbolic tangent, arXiv:1606.08415."""
    opened: Array = rows / 2 * (1 + np.tanh((2 / np.pi) ** 0.5 * (rows + 0.044715 * rows**3)))
    return opened


def _norm(rows: Array, gain: Array, epsilon: float) -> Array:
    normed: Array = rows / np.sqrt((rows**2).mean(-1, keepdims=True) + epsilon) * gain
    return normed


def _tensor(file: GGUFFile, name: str) -> Array:
    return file.tensor(name).astype(np.float64)


def _rounded_rows(rows: Array) -> Array:
    scales = np.abs(rows).max(-1, keepdims=True) / 127
    rounded: Array = np.rint(rows / scales) * scales
    return rounded


def _rounded_blocks(rows: Array) -> Array:
    return _rounded_rows(_in_blocks(rows)).reshape(len(rows), -1)[:, : rows.shape[1]]


def _in_blocks(rows: Array) -> Array:
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % 32))).reshape(len(rows), -1, 32)

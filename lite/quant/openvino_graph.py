"""The OpenVINO graph of a Llama, Qwen2, Qwen3 or Gemma 3 decoder, over blocks of keys and values (paged attention).

Inputs: `input_ids` (tokens,) int64, of all sequences one after the other; `angles` (2, tokens, padded head_dim), the
cosines and sines of their positions, and where layers are local `local_angles` for these; `row_index` (rows,) int64,
which of the tokens get logits; and what the attention takes: `past_lens` (sequences,), `subsequence_begins`
(sequences + 1,), `block_indices` with its `block_indices_begins` (sequences + 1,) and `max_context_len` (), int32. For
each layer `key_cache.i` and `value_cache.i` (blocks, kv heads, positions of a block, padded head_dim), which it reads
and writes. Output: `logits` (rows, vocab) float32.

The attention is OpenVINO's internal operator, whose inputs change from release to release: hence the exact pin.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lite.models import ModelConfig
from lite.quant.openvino_runtime import PagedAttention, openvino, ops
from lite.quant.packing import BLOCK_SIZE, HeadLayout

__all__ = ["build_graph"]

Node: TypeAlias = Any  # openvino.Node or openvino.Output; their own annotations are incomplete
Weights: TypeAlias = Mapping[str, NDArray[Any]]

_INDEX_INPUTS = ("past_lens", "subsequence_begins", "block_indices", "block_indices_begins")


def build_graph(config: ModelConfig, weights: Weights) -> openvino.Model:
    """The model over arrays as `lite.quant.openvino.open_weights` gives them."""
    return _Decoder(config, weights).model()


class _Decoder:
    """One method a part; activations are (tokens, width) everywhere but around the attention."""

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        self._config = config
        self._weights = weights
        self._heads = HeadLayout(config.head_dim, config.rope_interleaved)
        self._inputs: dict[str, Node] = {}

    def model(self) -> openvino.Model:
        config = self._config
        self._add_inputs()
        table = self._matrix("token_embd.weight")
        hidden = ops.gather(table, self._inputs["input_ids"], ops.constant(0))
        if config.embedding_scale != 1:
            hidden = ops.multiply(hidden, _number(config.embedding_scale))
        for layer in range(config.num_layers):
            update = self._attention(layer, self._norm(hidden, f"blk.{layer}.attn_norm.weight"))
            hidden = ops.add(hidden, self._normed_update(update, f"blk.{layer}.post_attention_norm.weight"))
            update = self._feed_forward(layer, self._norm(hidden, f"blk.{layer}.ffn_norm.weight"))
            hidden = ops.add(hidden, self._normed_update(update, f"blk.{layer}.post_ffw_norm.weight"))
        wanted = ops.gather(hidden, self._inputs["row_index"], ops.constant(0))
        if not config.tied_embeddings:
            table = self._matrix("output.weight")
        logits = _product(self._norm(wanted, "output_norm.weight"), table)
        logits.output(0).set_names({"logits"})
        return openvino.Model([ops.result(logits)], list(self._inputs.values()), "decoder")

    def _add_inputs(self) -> None:
        config, padded = self._config, self._heads.padded_dim
        self._input("input_ids", "i64", [-1])
        self._input("row_index", "i64", [-1])
        for name in ("angles", "local_angles") if any(config.local_layers) else ("angles",):
            self._input(name, "f32", [2, -1, padded])
        for name in _INDEX_INPUTS:
            self._input(name, "i32", [-1])
        self._input("max_context_len", "i32", [])
        for layer in range(config.num_layers):
            for part in ("key", "value"):
                self._input(f"{part}_cache.{layer}", "dynamic", [-1, -1, -1, -1])

    def _input(self, name: str, kind: str, shape: Sequence[int]) -> None:
        node = openvino.op.Parameter(getattr(openvino.Type, kind), openvino.PartialShape(list(shape)))
        node.output(0).set_names({name})
        node.set_friendly_name(name)
        self._inputs[name] = node

    def _norm(self, rows: Node, name: str) -> Node:
        return _root_mean_square(rows, self._weights[name], self._config.rms_norm_eps)

    def _normed_update(self, update: Node, name: str) -> Node:
        """Gemma norms what a layer adds before it is added."""
        return self._norm(update, name) if self._config.is_gemma else update

    def _attention(self, layer: int, normed: Node) -> Node:
        config, inputs = self._config, self._inputs
        local = config.is_local(layer)
        angles = inputs["local_angles" if local else "angles"]
        query, key, value = self._query_key_value(layer, normed)
        sources = [
            self._rotated(query, angles, f"blk.{layer}.attn_q_norm.weight"),
            self._rotated(key, angles, f"blk.{layer}.attn_k_norm.weight"),
            value,
            *(inputs[f"{part}_cache.{layer}"] for part in ("key", "value")),
            *(inputs[name] for name in _INDEX_INPUTS),
            _number(config.attention_scale),
            _count(config.sliding_window if local else 0),
            _empty(np.float32),  # slopes of ALiBi
            inputs["max_context_len"],
            *_unused(),
        ]
        outputs = [source if isinstance(source, openvino.Output) else source.output(0) for source in sources]
        attention = PagedAttention(outputs)
        for part in "kv":
            attention.get_rt_info()[f"num_{part}_heads"] = config.num_kv_heads
            attention.get_rt_info()[f"{part}_head_size"] = self._heads.padded_dim
        return _product(attention.output(0), self._matrix(f"blk.{layer}.attn_output.weight"))

    def _query_key_value(self, layer: int, normed: Node) -> list[Node]:
        """Queries, keys and values, (tokens, heads * padded head_dim) each."""
        joint = _product(normed, self._matrix(f"blk.{layer}.attn_qkv.weight"))
        if (bias := self._weights.get(f"blk.{layer}.attn_qkv.bias")) is not None:
            joint = ops.add(joint, ops.constant(bias))
        kv_width = self._config.num_kv_heads * self._heads.padded_dim
        widths = [self._config.num_heads * self._heads.padded_dim, kv_width, kv_width]
        return list(ops.variadic_split(joint, ops.constant(1), ops.constant(widths)).outputs())

    def _rotated(self, rows: Node, angles: Node, norm: str) -> Node:
        """Heads normed where the family does so, and turned by their positions."""
        config, padded = self._config, self._heads.padded_dim
        heads = ops.reshape(rows, ops.constant([0, -1, 1, padded]), special_zero=True)
        if norm in self._weights:
            ratio = config.head_dim / padded  # the mean of squares runs over the padding's zeros too
            gain = self._weights[norm] * np.float32(ratio**0.5)
            heads = _root_mean_square(heads, gain, config.rms_norm_eps * ratio)
        cosines, sines = (
            ops.reshape(
                ops.gather(angles, ops.constant(which), ops.constant(0)), ops.constant([-1, 1, 1, padded]), False
            )
            for which in (0, 1)
        )
        halves = ops.constant([padded // 2, padded // 2])
        first, second = ops.variadic_split(heads, ops.constant(3), halves).outputs()
        turned = ops.concat([ops.multiply(second, _number(-1)), first], -1)  # of this form it is one operator, RoPE
        found = ops.add(ops.multiply(heads, cosines), ops.multiply(turned, sines))
        width = rows.get_partial_shape()[1].get_length()
        return ops.reshape(found, ops.constant([-1, width]), special_zero=False)

    def _feed_forward(self, layer: int, normed: Node) -> Node:
        gate, up, down = (self._matrix(f"blk.{layer}.ffn_{part}.weight") for part in ("gate", "up", "down"))
        opened = _product(normed, gate)
        opened = ops.gelu(opened, "tanh") if self._config.is_gemma else ops.swish(opened)
        return _product(ops.multiply(opened, _product(normed, up)), down)

    def _matrix(self, name: str) -> Node:
        """A node with the matrix as float32; the engine multiplies without unpacking it."""
        values = self._weights[name]
        if values.dtype == np.float32:
            return _mapped(values)
        scales = _mapped(self._weights[f"{name}.scales"])
        if values.dtype == np.int8:
            return ops.multiply(ops.convert(_mapped(values), "f32"), scales)
        codes = ops.subtract(ops.convert(_blocks(values), "f32"), ops.convert(_zero_point(values), "f32"))
        return ops.reshape(ops.multiply(codes, scales), ops.constant([len(values), -1]), special_zero=False)


def _mapped(array: NDArray[Any]) -> Node:
    """The array itself, which lives as long as the node: mapped from the disk, it can be dropped from memory."""
    return ops.constant(array, shared_memory=True)


def _blocks(codes: NDArray[np.uint8]) -> Node:
    """Codes (out, blocks, bytes) as what they stand for, (out, blocks, 32)."""
    if codes.shape[-1] == BLOCK_SIZE:
        return _mapped(codes)
    shape = openvino.Shape([*codes.shape[:-1], BLOCK_SIZE])
    return openvino.op.Constant(openvino.Tensor(codes, shape, openvino.Type.u4), shared_memory=False)


def _zero_point(codes: NDArray[np.uint8]) -> Node:
    bits = 8 * codes.shape[-1] // BLOCK_SIZE
    kind = openvino.Type.u8 if bits == 8 else openvino.Type.u4
    return openvino.op.Constant(kind, openvino.Shape([]), [1 << (bits - 1)])


def _root_mean_square(rows: Node, gain: NDArray[np.float32], epsilon: float) -> Node:
    mean = ops.reduce_mean(ops.power(rows, _number(2)), ops.constant([-1]), keep_dims=True)
    scale = ops.divide(_number(1), ops.sqrt(ops.add(mean, _number(epsilon))))
    return ops.multiply(ops.multiply(scale, rows), ops.constant(gain))


def _product(rows: Node, matrix: Node) -> Node:
    """Rows times the transposed matrix."""
    return ops.matmul(rows, matrix, transpose_a=False, transpose_b=True)


def _number(value: float) -> Node:
    return ops.constant(np.float32(value))


def _count(value: int) -> Node:
    return ops.constant(np.int32(value))


def _empty(kind: type[np.generic], num_axes: int = 1) -> Node:
    return ops.constant(np.empty([0] * num_axes, kind))


def _unused() -> list[Node]:
    """What the attention can do beside: aggregated scores, turned keys, sparsity, sinks, evictions, trees of tokens."""
    no_indices, no_numbers = _empty(np.int32), _empty(np.float32)
    return [
        *(no_indices, no_indices, no_indices, no_numbers, no_numbers, _count(0), _count(0), _empty(np.float32, 4)),
        *(_count(0), no_indices, no_indices, no_indices, no_indices, _empty(np.uint8), no_indices),
    ]

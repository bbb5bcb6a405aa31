"""The ONNX graph of a Llama, Qwen2, Qwen3 or Gemma 3 decoder, in the operators of ONNX Runtime's CPU provider.

Inputs: `input_ids` (batch, sequence) int64; `seqlens_k` (batch,) int32, the last position of each row, the new ones
included; `total_sequence_length` () int32, the largest of them plus one; `row_index` (rows,) int64, which of the
batch * sequence positions get logits; `cos_cache` and `sin_cache` (positions, padded head_dim / 2), and where layers
are local `local_cos_cache` and `local_sin_cache` for these; and for each layer `past_key.i` and `past_value.i` (batch,
kv heads, positions, padded head_dim). Outputs: `logits` (rows, vocab) and `present_key.i`, `present_value.i`, which are
bound to the memory of their pasts. A sequence longer than one that has a past needs batch 1.

Activations are matrices (batch * sequence, width) everywhere but around the attention.
"""

from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, ValueInfoProto, helper

from lite.quant.gguf import GGUFFile
from lite.quant.onnx_nodes import Graph
from lite.quant.onnx_products import Products, products_for
from lite.quant.packing import HeadLayout

__all__ = ["Decoder", "write_graph"]


def write_graph(file: GGUFFile, weight_format: str, weights: BinaryIO, location: str) -> bytes:
    """The serialized model; its weights are appended to `weights`, a file that the model will find at `location`."""
    graph = Graph(weights, location)
    decoder = Decoder(file, graph, products_for(weight_format, graph))
    decoder.add_all()
    return bytes(graph.model(*decoder.interface()).SerializeToString())


class Decoder:
    """Adds a model to a graph. One method a part; each takes and returns names of activations."""

    past, present = "past_{part}.{layer}", "present_{part}.{layer}"  # what the cache's inputs and outputs are called

    def __init__(self, file: GGUFFile, graph: Graph, products: Products) -> None:
        self._file = file
        self._config = file.config
        self._graph = graph
        self._products = products
        self._heads = HeadLayout(file.config.head_dim, file.config.rope_interleaved)

    def add_all(self) -> None:
        ids = self._ids()
        residual = self._scaled(self._products.embedding(self._file.tensor("token_embd.weight"), ids))
        update = ""
        for layer in range(self._config.num_layers):
            normed, residual = self._norm(residual, update, f"blk.{layer}.attn_norm.weight")
            update = self._normed_update(self._attention(layer, normed), f"blk.{layer}.post_attention_norm.weight")
            normed, residual = self._norm(residual, update, f"blk.{layer}.ffn_norm.weight")
            update = self._normed_update(self._feed_forward(layer, normed), f"blk.{layer}.post_ffw_norm.weight")
        normed, _ = self._norm(residual, update, "output_norm.weight")
        self._logits(normed)

    def interface(self) -> tuple[list[ValueInfoProto], list[ValueInfoProto]]:
        """The inputs and outputs that the module's docstring lists."""
        config, padded = self._config, self._heads.padded_dim
        value = helper.make_tensor_value_info
        inputs = [
            value("input_ids", TensorProto.INT64, ["batch", "sequence"]),
            value("seqlens_k", TensorProto.INT32, ["batch"]),
            value("total_sequence_length", TensorProto.INT32, []),
            value("row_index", TensorProto.INT64, ["rows"]),
        ]
        tables = ["cos_cache", "sin_cache"]
        tables += ["local_cos_cache", "local_sin_cache"] if any(config.local_layers) else []
        inputs += [value(name, TensorProto.FLOAT, ["positions", padded // 2]) for name in tables]
        outputs = [value("logits", TensorProto.FLOAT, ["rows", config.vocab_size])]
        return inputs + self._cache(self.past, "positions"), outputs + self._cache(self.present, "positions")

    def _cache(self, name: str, positions: str) -> list[ValueInfoProto]:
        shape = ("batch", self._config.num_kv_heads, positions, self._heads.padded_dim)
        return [
            helper.make_tensor_value_info(name.format(part=part, layer=layer), TensorProto.FLOAT, shape)
            for layer in range(self._config.num_layers)
            for part in ("key", "value")
        ]

    def _ids(self) -> str:
        """The ids in one row; and `sequences`, the shape that brings (batch * sequence, width) back."""
        graph = self._graph
        graph.weight("rest", np.array([-1]))
        graph.add("Concat", graph.add("Shape", "input_ids"), "rest", outputs=("sequences",), axis=0)
        return graph.add("Reshape", "input_ids", "rest", outputs=("flat_ids",))

    def _scaled(self, embedded: str) -> str:
        scale = self._config.embedding_scale
        if scale == 1:
            return embedded
        return self._graph.add("Mul", embedded, self._graph.weight("embedding_scale", np.float32(scale)))

    def _normed_update(self, update: str, name: str) -> str:
        """Gemma norms what a layer adds before it is added."""
        if not self._config.is_gemma:
            return update
        gain = self._graph.weight(name, self._file.tensor(name))
        return self._root_mean_square(update, gain, self._config.rms_norm_eps)

    def _norm(self, residual: str, update: str, name: str) -> tuple[str, str]:
        """Normed rows, and the residual stream with the last update added."""
        gain = self._graph.weight(name, self._file.tensor(name))
        epsilon = self._config.rms_norm_eps
        if not update:
            return self._root_mean_square(residual, gain, epsilon), residual
        normed, total = f"{name}.normed", f"{name}.residual"
        terms, outputs = (residual, update, gain), (normed, "", "", total)
        self._graph.add("SkipSimplifiedLayerNormalization", *terms, outputs=outputs, epsilon=epsilon)
        return normed, total

    def _root_mean_square(self, rows: str, gain: str, epsilon: float) -> str:
        return self._graph.add("SimplifiedLayerNormalization", rows, gain, axis=-1, epsilon=epsilon, stash_type=1)

    def _attention(self, layer: int, normed: str) -> str:
        graph, config = self._graph, self._config
        local = config.is_local(layer)
        tables = ("local_cos_cache", "local_sin_cache") if local else ("cos_cache", "sin_cache")
        attended = graph.add(
            "GroupQueryAttention",
            *self._query_key_value(layer, normed),
            *(self.past.format(part=part, layer=layer) for part in ("key", "value")),
            *("seqlens_k", "total_sequence_length", *tables),
            outputs=(
                f"blk.{layer}.attended",
                *(self.present.format(part=part, layer=layer) for part in ("key", "value")),
            ),
            num_heads=config.num_heads,
            kv_num_heads=config.num_kv_heads,
            do_rotary=1,
            scale=config.attention_scale,
            local_window_size=config.sliding_window if local else -1,
        )
        width = graph.weight("attended_shape", np.array([-1, config.num_heads * self._heads.padded_dim]))
        rows = self._products.prepare(graph.add("Reshape", attended, width), "flat_ids")
        name = f"blk.{layer}.attn_output.weight"
        return self._products.multiply(rows, name, self._heads.plain(self._file.tensor(name).T).T)

    def _query_key_value(self, layer: int, normed: str) -> tuple[str, str, str]:
        """Queries, keys and values (batch, sequence, ...), all in the first where nothing has to part them."""
        graph = self._graph
        rows = self._products.prepare(normed, "flat_ids")
        joint = self._products.multiply(rows, f"blk.{layer}.attn_qkv.weight", self._joint(layer, "weight"))
        if f"blk.{layer}.attn_q.bias" in self._file.tensors:
            joint = graph.add("Add", joint, graph.weight(f"blk.{layer}.attn_qkv.bias", self._joint(layer, "bias")))
        if f"blk.{layer}.attn_q_norm.weight" not in self._file.tensors:
            return graph.add("Reshape", joint, "sequences"), "", ""
        parts = (f"blk.{layer}.query", f"blk.{layer}.key", f"blk.{layer}.value")
        graph.add("Split", joint, self._widths(), outputs=parts, axis=1)
        query = self._head_norm(parts[0], f"blk.{layer}.attn_q_norm.weight")
        key = self._head_norm(parts[1], f"blk.{layer}.attn_k_norm.weight")
        return query, key, graph.add("Reshape", parts[2], "sequences")

    def _joint(self, layer: int, kind: str) -> NDArray[np.float32]:
        """The three projections' rows, or biases, in one array."""
        query, key, value = (self._file.tensor(f"blk.{layer}.attn_{part}.{kind}") for part in "qkv")
        return np.concatenate([self._heads.rotary(query), self._heads.rotary(key), self._heads.plain(value)])

    def _widths(self) -> str:
        kv_width = self._config.num_kv_heads * self._heads.padded_dim
        widths = [self._config.num_heads * self._heads.padded_dim, kv_width, kv_width]
        return self._graph.weight("query_key_value_widths", np.array(widths))

    def _head_norm(self, rows: str, name: str) -> str:
        """Norm each head by itself.

        The mean of squares runs over the padded width, zeros included, so gain and epsilon carry the ratio.
        """
        graph, config, padded = self._graph, self._config, self._heads.padded_dim
        ratio = config.head_dim / padded
        gain = graph.weight(name, self._heads.rotary(self._file.tensor(name)) * np.float32(ratio**0.5))
        heads = graph.add("Reshape", rows, graph.weight("heads_shape", np.array([-1, padded])))
        return graph.add("Reshape", self._root_mean_square(heads, gain, config.rms_norm_eps * ratio), "sequences")

    def _feed_forward(self, layer: int, normed: str) -> str:
        graph, products = self._graph, self._products
        rows = products.prepare(normed, "flat_ids")
        gate, up, down = (f"blk.{layer}.ffn_{part}.weight" for part in ("gate", "up", "down"))
        opened = self._opened(products.multiply(rows, gate, self._file.tensor(gate)))
        gated = graph.add("Mul", opened, products.multiply(rows, up, self._file.tensor(up)))
        return products.multiply(products.prepare(gated, "flat_ids"), down, self._file.tensor(down))

    def _opened(self, gate: str) -> str:
        if self._config.is_gemma:
            return self._graph.add("Gelu", gate, approximate="tanh")
        return self._graph.add("QuickGelu", gate, alpha=1.0)  # SiLU

    def _logits(self, normed: str) -> None:
        """Of the rows that are asked for."""
        self._head(self._graph.add("Gather", normed, "row_index", axis=0), "row_index", "logits")

    def _head(self, rows: str, count: str, output: str) -> None:
        tied = self._config.tied_embeddings
        matrix = self._file.tensor("token_embd.weight" if tied else "output.weight")
        self._products.head(self._products.prepare(rows, count), matrix, output, tied=tied)

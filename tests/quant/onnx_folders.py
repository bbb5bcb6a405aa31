"""Folders with ONNX models as others export them, written from a GGUF file: plain operators or fused attention.

`write_folder(path, file)` is what Optimum makes; `Export(fused=True)` has GroupQueryAttention, as onnxruntime-genai's
models; `genai=True` adds its configuration, with names of its own for the cache.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from lite.pre_tokenizers import PRE_TOKENIZERS
from lite.quant.gguf import GGUFFile
from lite.quant.packing import BLOCK_SIZE, HeadLayout, pack_blocks, pack_rows
from lite.tokens import Tokenizer, TokenType

__all__ = ["Export", "write_folder", "write_graph", "write_tokenizer"]

GENAI_NAMES = {"past": "past_{part}_{layer}_in", "present": "past_{part}_{layer}_out"}
_MICROSOFT = ("GroupQueryAttention", "MatMulNBits", "SkipSimplifiedLayerNormalization")


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """How a model is written."""

    fused: bool = False  # GroupQueryAttention, else plain operators
    positions: bool = True  # whether the graph wants position_ids; a fused one knows them from the mask
    half: bool = False  # float16 cache, logits and weights
    weights: str = "float"  # or "q4", or "int8" with one scale for all activations of a call
    past: str = "past_key_values.{layer}.{part}"
    present: str = "present.{layer}.{part}"
    single_logits: bool = False  # whether the graph has the input num_logits_to_keep


def write_folder(
    folder: Path, file: GGUFFile, export: Export | None = None, *, name: str = "model.onnx", genai: bool = False
) -> Path:
    """A folder with a graph, its tokenizer and its configuration; what was there before stays."""
    folder.mkdir(parents=True, exist_ok=True)
    export = export or Export(fused=genai, positions=not genai)
    export = replace(export, **GENAI_NAMES) if genai else export
    write_graph(folder / name, file, export)
    tokenizer = Tokenizer.from_gguf(file)
    write_tokenizer(folder / "tokenizer.json", file, tokenizer)
    template = {"chat_template": file.metadata["tokenizer.chat_template"]}
    ends = {"eos_token": tokenizer.tokens[tokenizer.eos]} if tokenizer.eos is not None else {}
    _write_json(folder / "tokenizer_config.json", template | ends)
    if genai:
        _write_json(folder / "genai_config.json", _genai_config(file, tokenizer, export, name))
    else:
        _write_json(folder / "config.json", _config(file))
        _write_json(folder / "generation_config.json", {"eos_token_id": sorted(tokenizer.end_ids)})
    return folder


def write_graph(path: Path, file: GGUFFile, export: Export, *, data: str = "") -> None:
    """The model alone; `data` names the file beside it that holds the weights, if they are to be apart."""
    path.parent.mkdir(parents=True, exist_ok=True)
    model = _Decoder(file, export).model()
    if data:
        onnx.save_model(model, path, save_as_external_data=True, location=data, size_threshold=0)
    else:
        onnx.save_model(model, path)


class _Decoder:
    """Adds a model to a graph; each method takes and returns names of activations, (batch, sequence, width)."""

    def __init__(self, file: GGUFFile, export: Export) -> None:
        self.file, self.config, self.export = file, file.config, export
        self.heads = HeadLayout(file.config.head_dim, file.config.rope_interleaved)
        self.nodes: list[NodeProto] = []
        self.arrays: dict[str, NDArray[Any]] = {}
        self.float = np.float16 if export.half else np.float32

    def model(self) -> onnx.ModelProto:
        config = self.config
        self.prepare_fused() if self.export.fused else self.prepare_plain()
        table = self.file.tensor("token_embd.weight")
        hidden = self.add("Gather", self.const("embedding", table.astype(self.float)), "input_ids")
        for layer in range(config.num_layers):
            normed = self.norm(hidden, f"blk.{layer}.attn_norm.weight")
            hidden = self.add("Add", hidden, self.attention(layer, normed))
            normed = self.norm(hidden, f"blk.{layer}.ffn_norm.weight")
            hidden = self.add("Add", hidden, self.feed_forward(layer, normed))
        if self.export.single_logits:
            hidden = self.add("Slice", hidden, self.add("Neg", self.whole("num_logits_to_keep")), "huge", "one")
        head = table if config.tied_embeddings else self.file.tensor("output.weight")
        self.product(self.norm(hidden, "output_norm.weight"), "head", head, output="logits")
        inputs, outputs = self.interface()
        used = {name for node in self.nodes for name in node.input}
        weights = [numpy_helper.from_array(array, name) for name, array in self.arrays.items() if name in used]
        graph = helper.make_graph(self.nodes, "decoder", inputs, outputs, weights)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def interface(self) -> tuple[list[ValueInfoProto], list[ValueInfoProto]]:
        value, config = helper.make_tensor_value_info, self.config
        number = TensorProto.FLOAT16 if self.export.half else TensorProto.FLOAT
        inputs = [value("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"])]
        inputs.append(value("attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"]))
        if self.export.positions:
            inputs.append(value("position_ids", TensorProto.INT64, ["batch_size", "sequence_length"]))
        if self.export.single_logits:
            inputs.append(value("num_logits_to_keep", TensorProto.INT64, []))
        outputs = [value("logits", number, ["batch_size", "sequence_length", config.vocab_size])]
        for layer in range(config.num_layers):
            for part in ("key", "value"):
                size = "kv_cache_dim" if self.export.fused else config.head_dim  # as the builder of genai tells it
                shape = ["batch_size", config.num_kv_heads, "past_sequence_length", size]
                inputs.append(value(self.export.past.format(layer=layer, part=part), number, shape))
                outputs.append(value(self.export.present.format(layer=layer, part=part), number, shape))
        return inputs, outputs

    def add(self, operator: str, *inputs: str, outputs: tuple[str, ...] = (), **attributes: Any) -> str:
        outputs = outputs or (f"{operator}.{len(self.nodes)}",)
        domain = "com.microsoft" if operator in _MICROSOFT else ""
        self.nodes.append(helper.make_node(operator, inputs, outputs, domain=domain, **attributes))
        return outputs[0]

    def const(self, name: str, array: NDArray[Any]) -> str:
        self.arrays[name] = np.ascontiguousarray(array)
        return name

    def ints(self, *values: int) -> str:
        return self.const("ints." + ".".join(map(str, values)), np.array(values, np.int64))

    def whole(self, scalar: str) -> str:
        return self.add("Reshape", scalar, self.ints(1))

    def dimension(self, name: str, axis: int) -> str:
        """As one number, ()."""
        self.const(f"axis.{axis}", np.array(axis, np.int64))
        return self.add("Gather", self.add("Shape", name), f"axis.{axis}")

    def prepare_plain(self) -> None:
        """`bias`, (batch, 1, sequence, total), and `cos` and `sin`, (batch, 1, sequence, head_dim)."""
        self.const("zero", np.array(0, np.int64))
        self.const("one", np.array([1], np.int64))
        self.const("huge", np.array([1 << 60], np.int64))
        self.const("step", np.array(1, np.int64))
        self.const("hidden", np.array(-30000.0, self.float))
        self.const("seen", np.array(0.0, self.float))
        past = self.dimension(self.export.past.format(layer=0, part="key"), 2)
        total = self.add("Add", past, self.dimension("input_ids", 1))
        here = self.add("Range", past, total, "step")
        positions = "position_ids" if self.export.positions else self.add("Unsqueeze", here, self.ints(0))
        keys = self.add("Unsqueeze", self.add("Range", "zero", total, "step"), self.ints(0))
        causal = self.add("LessOrEqual", keys, self.add("Unsqueeze", here, self.ints(1)))
        real = self.add("Unsqueeze", self.add("Cast", "attention_mask", to=TensorProto.BOOL), self.ints(1, 2))
        self.add("Where", self.add("And", causal, real), "seen", "hidden", outputs=("bias",))
        for name, table in zip(("cos", "sin"), self.rotations(double=True), strict=True):
            turned = self.add("Gather", self.const(f"{name}.table", table), positions)
            self.add("Unsqueeze", turned, self.ints(1), outputs=(name,))

    def prepare_fused(self) -> None:
        self.const("one", np.array([1], np.int64))
        self.const("huge", np.array([1 << 60], np.int64))
        count = self.add("ReduceSum", "attention_mask", self.ints(1), keepdims=0)
        self.add("Cast", self.add("Sub", count, "one"), to=TensorProto.INT32, outputs=("seqlens_k",))
        self.add("Cast", self.dimension("attention_mask", 1), to=TensorProto.INT32, outputs=("total",))
        for name, table in zip(("cos", "sin"), self.rotations(double=False), strict=True):
            self.const(name, table)
        if self.export.positions:  # wanted and not read, as in models of the hub
            self.add("Shape", "position_ids")

    def rotations(self, *, double: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        pairs = self.config.head_dim // 2
        angles = np.outer(np.arange(self.config.context_length), self.config.rope_theta ** (-np.arange(pairs) / pairs))
        angles = np.tile(angles, 2) if double else angles
        return np.cos(angles).astype(self.float), np.sin(angles).astype(self.float)

    def norm(self, rows: str, name: str) -> str:
        gain = self.const(name, self.file.tensor(name))
        rows = self.add("Cast", rows, to=TensorProto.FLOAT) if self.export.half else rows
        self.const("epsilon", np.array(self.config.rms_norm_eps, np.float32))
        square = self.add("ReduceMean", self.add("Mul", rows, rows), axes=[-1], keepdims=1)
        root = self.add("Sqrt", self.add("Add", square, "epsilon"))
        normed = self.add("Mul", self.add("Div", rows, root), gain)
        return self.add("Cast", normed, to=TensorProto.FLOAT16) if self.export.half else normed

    def product(self, rows: str, name: str, matrix: NDArray[np.float32], output: str = "") -> str:
        outputs = (output,) if output else ()
        if self.export.weights == "q4" and name != "head":
            codes, scales = pack_blocks(matrix, 4)
            sizes = {"N": matrix.shape[0], "K": matrix.shape[1], "bits": 4, "block_size": BLOCK_SIZE}
            terms = self.const(name, codes), self.const(f"{name}_scales", scales.astype(self.float).reshape(-1))
            return self.add("MatMulNBits", rows, *terms, outputs=outputs, **sizes)
        if self.export.weights == "int8":
            quantised = self.add("DynamicQuantizeLinear", rows, outputs=tuple(f"{name}.{part}" for part in "xsz"))
            integers, scales = pack_rows(matrix)
            terms = self.const(f"{name}_quantized", integers), f"{name}.z"
            product = self.add("Cast", self.add("MatMulInteger", quantised, *terms), to=TensorProto.FLOAT)
            scale = self.add("Mul", self.const(f"{name}_scale", scales), f"{name}.s")
            return self.add("Mul", product, scale, outputs=outputs)
        return self.add("MatMul", rows, self.const(name, matrix.T.astype(self.float)), outputs=outputs)

    def attention(self, layer: int, rows: str) -> str:
        parts = [self.projected(layer, part, rows) for part in ("q", "k", "v")]
        attended = self.fused(layer, parts) if self.export.fused else self.plain(layer, parts)
        matrix = self.file.tensor(f"blk.{layer}.attn_output.weight")
        return self.product(attended, f"blk.{layer}.attn_output.weight", matrix)

    def projected(self, layer: int, part: str, rows: str) -> str:
        """(batch, sequence, heads, head_dim)."""
        name, turn = f"blk.{layer}.attn_{part}", self.heads.plain if part == "v" else self.heads.rotary
        product = self.product(rows, f"{name}.weight", turn(self.file.tensor(f"{name}.weight")))
        if f"{name}.bias" in self.file.tensors:
            bias = turn(self.file.tensor(f"{name}.bias")).astype(self.float)
            product = self.add("Add", product, self.const(f"{name}.bias", bias))
        product = self.add("Reshape", product, self.ints(0, 0, -1, self.config.head_dim))
        return self.norm(product, f"{name}_norm.weight") if f"{name}_norm.weight" in self.file.tensors else product

    def fused(self, layer: int, parts: list[str]) -> str:
        flat = [self.add("Reshape", part, self.ints(0, 0, -1)) for part in parts]
        return self.add(
            "GroupQueryAttention",
            *(*flat, *self.cache(self.export.past, layer), "seqlens_k", "total", "cos", "sin"),
            outputs=(f"attended.{layer}", *self.cache(self.export.present, layer)),
            num_heads=self.config.num_heads,
            kv_num_heads=self.config.num_kv_heads,
            do_rotary=1,
        )

    def cache(self, template: str, layer: int) -> tuple[str, str]:
        return template.format(layer=layer, part="key"), template.format(layer=layer, part="value")

    def plain(self, layer: int, parts: list[str]) -> str:
        query, key, value = (self.add("Transpose", part, perm=[0, 2, 1, 3]) for part in parts)
        query, key = self.turned(query), self.turned(key)
        past, present = self.cache(self.export.past, layer), self.cache(self.export.present, layer)
        key = self.add("Concat", past[0], key, axis=2, outputs=(present[0],))
        value = self.add("Concat", past[1], value, axis=2, outputs=(present[1],))
        self.const("scale", np.array(self.config.head_dim**-0.5, self.float))
        scores = self.add("MatMul", query, self.add("Transpose", self.repeated(key), perm=[0, 1, 3, 2]))
        scores = self.add("Add", self.add("Mul", scores, "scale"), "bias")
        attended = self.add("MatMul", self.add("Softmax", scores, axis=-1), self.repeated(value))
        attended = self.add("Transpose", attended, perm=[0, 2, 1, 3])
        return self.add("Reshape", attended, self.ints(0, 0, -1))

    def turned(self, heads: str) -> str:
        half = self.config.head_dim // 2
        low = self.add("Slice", heads, self.ints(0), self.ints(half), self.ints(3))
        high = self.add("Slice", heads, self.ints(half), self.ints(2 * half), self.ints(3))
        across = self.add("Concat", self.add("Neg", high), low, axis=3)
        return self.add("Add", self.add("Mul", heads, "cos"), self.add("Mul", across, "sin"))

    def repeated(self, heads: str) -> str:
        """Each key-value head for every query head that shares it."""
        times = self.config.num_heads // self.config.num_kv_heads
        wide = self.add("Expand", self.add("Unsqueeze", heads, self.ints(2)), self.ints(1, 1, times, 1, 1))
        total = self.whole(self.dimension(heads, 2))
        batch = self.whole(self.dimension(heads, 0))
        size = self.ints(self.config.head_dim)
        return self.add(
            "Reshape", wide, self.add("Concat", batch, self.ints(self.config.num_heads), total, size, axis=0)
        )

    def feed_forward(self, layer: int, rows: str) -> str:
        gate, up, down = (f"blk.{layer}.ffn_{part}.weight" for part in ("gate", "up", "down"))
        opened = self.product(rows, gate, self.file.tensor(gate))
        opened = self.add("Mul", opened, self.add("Sigmoid", opened))
        gated = self.add("Mul", opened, self.product(rows, up, self.file.tensor(up)))
        return self.product(gated, down, self.file.tensor(down))


def write_tokenizer(path: Path, file: GGUFFile, tokenizer: Tokenizer) -> None:
    """The library's own file, as exporters copy it."""
    from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Library

    special = {token: TokenType(kind) for token, kind in enumerate(tokenizer.types) if kind != TokenType.NORMAL}
    merges = [tuple(str(merge).split(" ")) for merge in cast(tuple[str, ...], file.metadata["tokenizer.ggml.merges"])]
    library = Library(models.BPE(vocab=dict(tokenizer.ids), merges=merges))
    cuts = [pre_tokenizers.Split(Regex(rule), "isolated") for rule in PRE_TOKENIZERS[tokenizer.pre].patterns]
    library.pre_tokenizer = pre_tokenizers.Sequence([*cuts, pre_tokenizers.ByteLevel(False, use_regex=False)])
    library.decoder = decoders.ByteLevel()
    for token, kind in special.items():
        added = AddedToken(tokenizer.tokens[token], special=kind == TokenType.CONTROL, normalized=False)
        library.add_special_tokens([added]) if added.special else library.add_tokens([added])
    library.save(str(path))


def _config(file: GGUFFile) -> dict[str, Any]:
    config = file.config
    return {
        "model_type": config.architecture,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
    }


def _genai_config(file: GGUFFile, tokenizer: Tokenizer, export: Export, name: str) -> dict[str, Any]:
    config = file.config
    inputs = {"input_ids": "input_ids", "attention_mask": "attention_mask"}
    if export.positions:
        inputs["position_ids"] = "position_ids"
    outputs = {"logits": "logits"}
    for part in ("key", "value"):
        inputs[f"past_{part}_names"] = export.past.format(layer="%d", part=part)
        outputs[f"present_{part}_names"] = export.present.format(layer="%d", part=part)
    decoder = {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": name,
        "head_size": config.head_dim,
        "hidden_size": config.hidden_size,
        "inputs": inputs,
        "outputs": outputs,
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.num_layers,
        "num_key_value_heads": config.num_kv_heads,
    }
    model = {
        "bos_token_id": tokenizer.eos if tokenizer.bos is None else tokenizer.bos,
        "eos_token_id": sorted(tokenizer.end_ids),
        "pad_token_id": tokenizer.eos,
        "context_length": config.context_length,
        "decoder": decoder,
        "type": config.architecture,
        "vocab_size": config.vocab_size,
    }
    search = {"do_sample": False, "max_length": config.context_length, "past_present_share_buffer": False}
    return {"model": model, "search": search}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")

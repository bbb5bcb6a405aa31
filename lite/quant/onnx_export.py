"""ONNX folders in the layout of Optimum and onnx-community: a graph, its weights, and what Hugging Face's folders hold.

The graph has the inputs `input_ids` (batch, sequence), `attention_mask` (batch, past and sequence), whose zeros are at
the end of a row, and `past_key_values.i.key` and `.value`; the outputs `logits` (batch, sequence, vocab) and
`present.i.key` and `.value`. Its operators are those of ONNX Runtime's CPU provider; positions come from the mask.
"""

import json
import shutil
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, ValueInfoProto, helper

from lite.models import TensorInfo
from lite.quant.gguf import GGUFFile
from lite.quant.onnx_graph import Decoder
from lite.quant.onnx_nodes import Graph
from lite.quant.onnx_products import products_for
from lite.quant.rotary import rotations
from lite.quant.tokenizer_file import tokenizer_json
from lite.tokens import Tokenizer

__all__ = ["GRAPH_NAME", "stored_tensors", "write_onnx_folder"]

GRAPH_NAME = "model.onnx"
_DATA_NAME = "model.onnx_data"
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
)
_MODEL_TYPES = {"gemma3": "gemma3_text"}
_BLOCKS = {"MatMulNBits": (1,), "GatherBlockQuantized": (0,)}  # operator -> which of its inputs is in blocks
_TYPES = {TensorProto.FLOAT: "F32", TensorProto.INT8: "int8-row"}


def write_onnx_folder(
    folder: Path, file: GGUFFile, weight_format: str, *, head_bits: int = 8, original: Path | None = None
) -> None:
    """Fill an empty folder; what the Hugging Face folder `original` says of text is copied, else made of the file."""
    with open(folder / _DATA_NAME, "wb") as data:
        graph = Graph(data, _DATA_NAME)
        decoder = _Exported(file, graph, products_for(weight_format, graph, head_bits))
        decoder.add_all()
        (folder / GRAPH_NAME).write_bytes(graph.model(*decoder.interface()).SerializeToString())
    _write_json(folder / "config.json", _config(file))
    if original is None:
        _write_text_files(folder, file)
        return
    for name in _TOKENIZER_FILES:
        if (original / name).is_file():
            shutil.copyfile(original / name, folder / name)


class _Exported(Decoder):
    """The same decoder with the inputs and outputs that the layout has."""

    past, present = "past_key_values.{layer}.{part}", "present.{layer}.{part}"

    def interface(self) -> tuple[list[ValueInfoProto], list[ValueInfoProto]]:
        value, vocabulary = helper.make_tensor_value_info, self._config.vocab_size
        inputs = [
            value("input_ids", TensorProto.INT64, ["batch", "sequence"]),
            value("attention_mask", TensorProto.INT64, ["batch", "total_sequence"]),
        ]
        outputs = [value("logits", TensorProto.FLOAT, ["batch", "sequence", vocabulary])]
        return inputs + self._cache(self.past, "past_sequence"), outputs + self._cache(self.present, "total_sequence")

    def _ids(self) -> str:
        self._add_lengths()
        self._add_rotations()
        return super()._ids()

    def _add_lengths(self) -> None:
        """The last position of each row, and the positions of the longest."""
        graph = self._graph
        graph.weight("mask_axis", np.array([1]))
        graph.weight("one", np.array(1, np.int32))
        mask = graph.add("Cast", "attention_mask", to=TensorProto.INT32)
        lengths = graph.add("ReduceSum", mask, "mask_axis", keepdims=0)
        graph.add("Sub", lengths, "one", outputs=("seqlens_k",))
        width = graph.add("Gather", graph.add("Shape", "attention_mask"), graph.weight("mask_width", np.array(1)))
        graph.add("Cast", width, outputs=("total_sequence_length",), to=TensorProto.INT32)

    def _add_rotations(self) -> None:
        config, padded = self._config, self._heads.padded_dim
        for local in (False, True) if any(config.local_layers) else (False,):
            tables = rotations(config, config.context_length, padded, local=local)
            for name, table in zip(("cos_cache", "sin_cache"), tables, strict=True):
                self._graph.weight(f"local_{name}" if local else name, table)

    def _logits(self, normed: str) -> None:
        """Of every position."""
        self._head(normed, "flat_ids", "flat_logits")
        self._graph.add("Reshape", "flat_logits", "sequences", outputs=("logits",))


def _config(file: GGUFFile) -> dict[str, Any]:
    """What loaders look for; the graph itself needs none of it."""
    config, heads = file.config, file.config.head_dim
    tokenizer = Tokenizer.from_gguf(file)
    return {
        "model_type": _MODEL_TYPES.get(config.architecture, config.architecture),
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": -(-heads // 16) * 16,  # as the cache has them
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tied_embeddings,
        "bos_token_id": tokenizer.bos,
        "eos_token_id": sorted(tokenizer.end_ids),
    }


def _write_text_files(folder: Path, file: GGUFFile) -> None:
    tokenizer = Tokenizer.from_gguf(file)
    _write_json(folder / "tokenizer.json", tokenizer_json(file, tokenizer))
    settings: dict[str, Any] = {"add_bos_token": tokenizer.add_bos}
    for name, token in (("bos_token", tokenizer.bos), ("eos_token", tokenizer.eos)):
        settings |= {} if token is None else {name: tokenizer.tokens[token]}
    if template := file.metadata.get("tokenizer.chat_template"):
        settings["chat_template"] = template
    _write_json(folder / "tokenizer_config.json", settings)
    ends = {"eos_token_id": sorted(tokenizer.end_ids)}
    _write_json(
        folder / "generation_config.json", ends | ({} if tokenizer.bos is None else {"bos_token_id": tokenizer.bos})
    )


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), "utf-8")


def stored_tensors(folder: Path) -> list[TensorInfo]:
    """The weights of a folder that `write_onnx_folder` has written, by GGUF's names; `num_bytes` with their scales.

    The three projections of the attention are one: attn_qkv. A head that shares the embedding's bytes is not listed.
    """
    graph = onnx.load(folder / GRAPH_NAME, load_external_data=False).graph
    bits = {node.input[place]: _bits(node) for node in graph.node for place in _BLOCKS.get(node.op_type, ())}
    sizes = {one.name: _num_bytes(one) for one in graph.initializer}
    found: dict[int, TensorInfo] = {}
    for one in graph.initializer:
        if not one.name.endswith((".weight", ".bias", "embedding")):
            continue
        kind = _TYPES.get(one.data_type) or f"q{bits[one.name]}"
        name = "token_embd.weight" if one.name == "embedding" else one.name
        place = _external(one).get("offset", f"-{len(found) + 1}")
        num_bytes = sizes[one.name] + sizes.get(f"{one.name}.scales", 0)
        found.setdefault(int(place), TensorInfo(name, _shape(one, kind), kind, int(place), num_bytes))
    return list(found.values())


def _bits(node: onnx.NodeProto) -> int:
    return next(int(attribute.i) for attribute in node.attribute if attribute.name == "bits")


def _external(tensor: TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _num_bytes(tensor: TensorProto) -> int:
    return int(_external(tensor).get("length", len(tensor.raw_data)))


def _shape(tensor: TensorProto, kind: str) -> tuple[int, ...]:
    """(out, in) of a matrix; blocks are filled up to 32."""
    dims = tuple(tensor.dims)
    if kind in ("q4", "q8"):
        return dims[0], prod(dims[1:]) * 8 // int(kind[1:])
    return dims[::-1] if kind == "int8-row" or (kind == "F32" and tensor.name != "embedding") else dims

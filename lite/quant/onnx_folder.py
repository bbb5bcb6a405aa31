"""Folders with an ONNX model, as Optimum, onnx-community and onnxruntime-genai lay them out."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from math import prod
from pathlib import Path
from typing import Any

from lite.errors import ModelError, UsageError
from lite.models import ModelConfig, TensorInfo
from lite.quant.folder_json import chat_template, optional_json, read_json
from lite.quant.folder_tokenizer import read_tokenizer
from lite.quant.onnx_signature import Names, Signature, data_files, load_graph, read_signature, read_weights
from lite.tokenizer_json import JsonTokenizer

__all__ = ["OnnxFolder", "is_onnx_folder", "open_onnx_folder"]

_GENAI = "genai_config.json"
_GRAPH = re.compile(r"model(?:_(\w+))?\.onnx")
_ALIASES = {"fp16": "f16", "fp32": "f32"}
_FORMATS = {"F32": "f32", "F16": "f16", "BF16": "bf16", "Q4": "q4", "Q8": "q8", "INT8": "int8", "UINT8": "uint8"}
_LENGTHS = ("max_position_embeddings", "n_positions", "context_length")

_Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFolder:
    """A checked folder, and the graph of it that was chosen; a `ModelFile`."""

    path: Path
    graph: Path
    format: str
    formats: Mapping[str, int]  # all there are, the default first, and the bytes of each
    signature: Signature
    config: ModelConfig
    cache_shapes: tuple[tuple[int, int], ...]  # (kv heads, head_dim) of each past of the signature
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, object]  # what a description tells, by GGUF's keys
    tokenizer: JsonTokenizer

    @property
    def name(self) -> str:
        return self.path.resolve().name


def is_onnx_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a graph, in whatever layout."""
    with suppress(OSError, ValueError):
        folder = Path(path)
        return (folder / _GENAI).is_file() or any(_graph_files(folder))
    return False


def open_onnx_folder(path: str | os.PathLike[str], weight_format: str | None = None) -> OnnxFolder:
    """Read all but the weights. Raises ModelError, one line that names what is wrong, and UsageError for the format."""
    folder = Path(path)
    genai = optional_json(folder / _GENAI)
    graphs = _by_format(_graphs(folder, genai))
    chosen = _chosen(folder, graphs, weight_format)
    config = (optional_json if genai else read_json)(folder / "config.json")
    try:
        return _checked(folder, graphs, chosen, (*_parts(config, "text_config"), *_parts(genai, "model", "decoder")))
    except ModelError as error:
        raise ModelError(f"{graphs[chosen]}: {error}") from None


def _checked(folder: Path, graphs: Mapping[str, Path], chosen: str, sources: tuple[_Json, ...]) -> OnnxFolder:
    """`sources` are configurations in which a number may stand, the first that has it counts."""
    path = graphs[chosen]
    graph = load_graph(path).graph
    for name in data_files(graph):
        if not (path.parent / name).is_file():
            raise ModelError(f"its weights are to be in {name}, which is missing; download the folder whole")
    signature = read_signature(graph, _names(sources))
    tensors = read_weights(graph)
    shapes = _cache_shapes(signature, sources)
    tokenizer = read_tokenizer(folder, sources)
    config = _config(signature, shapes, sources, tokenizer)
    return OnnxFolder(
        path=folder,
        graph=path,
        format=chosen,
        formats={name: _num_bytes(found) for name, found in graphs.items()},
        signature=signature,
        config=config,
        cache_shapes=shapes,
        tensors=tensors,
        metadata={
            "general.name": folder.resolve().name,
            "tokenizer.chat_template": chat_template(folder),
            "tokenizer.ggml.model": "tokenizer.json",
            "tokenizer.ggml.tokens": tokenizer.tokens,
        },
        tokenizer=tokenizer,
    )


# Which graphs there are


def _graph_files(folder: Path) -> Iterator[Path]:
    for place in (folder / "onnx", folder):
        yield from sorted(place.glob("*.onnx"))


def _parts(config: _Json, *path: str) -> list[_Json]:
    """A configuration and what lies in it on a path, the innermost first."""
    parts = [config]
    for name in path:
        if isinstance(inner := parts[0].get(name), Mapping):
            parts.insert(0, inner)
    return parts


def _graphs(folder: Path, genai: _Json) -> dict[str, Path]:
    """By the end of their names; the plain model's is empty."""
    for part in _parts(genai, "model", "decoder"):
        if name := part.get("filename"):
            return {"": _inside(folder, str(name))}
    named = {path: _GRAPH.fullmatch(path.name) for path in _graph_files(folder)}
    graphs = {match[1] or "": path for path, match in named.items() if match}
    if not graphs and len(named) == 1:
        return {"": next(iter(named))}
    if not graphs:
        found = ", ".join(path.name for path in named) or "nothing"
        raise ModelError(f"{folder}: there is no model.onnx in it, and none in its folder onnx: there is {found}")
    return dict(sorted(graphs.items()))


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if Path(name).name != name or not path.is_file():
        raise ModelError(f"{folder}: {_GENAI} names the graph {name!r}, which is not in the folder")
    return path


def _by_format(graphs: Mapping[str, Path]) -> dict[str, Path]:
    """Under the names that `--format` takes: a plain model's is that of most of its weights."""
    named = {_ALIASES.get(end, end): path for end, path in graphs.items() if end}
    if "" not in graphs:
        return named
    label = _main_format(read_weights(load_graph(graphs[""]).graph))
    return {label if label not in named else "model": graphs[""], **named}


def _main_format(tensors: Mapping[str, TensorInfo]) -> str:
    counts: dict[str, int] = {}
    for tensor in tensors.values():
        counts[tensor.type] = counts.get(tensor.type, 0) + prod(tensor.shape)
    return _FORMATS.get(max(counts, key=lambda kind: counts[kind], default=""), "model")


def _chosen(folder: Path, graphs: Mapping[str, Path], asked: str | None) -> str:
    if asked is None:
        return next(iter(graphs))
    name = _ALIASES.get(asked, asked)
    if name not in graphs:
        raise UsageError(f"{folder} holds no model in the format {asked!r}: there is {', '.join(graphs)}")
    return name


def _num_bytes(graph: Path) -> int:
    """Of the graph and of the files that exporters put beside it under its name."""
    return sum(path.stat().st_size for path in graph.parent.glob(f"{graph.name}*"))


# What its JSON files say


def _names(sources: tuple[_Json, ...]) -> Names:
    told: dict[str, str] = {}
    for source in sources:
        for part in (source.get("inputs"), source.get("outputs")):
            if isinstance(part, Mapping):
                told |= {name: value for name, value in part.items() if isinstance(value, str)}
    known = {field.name: told[field.name] for field in fields(Names) if field.name in told}
    for name, value in known.items():
        if value.count("%d") != name.endswith("_names") or value.count("%") != value.count("%d"):
            raise ModelError(f"{_GENAI} gives {value!r} for {name}, which is no name to count layers with")
    return Names(**known)


def _number(sources: tuple[_Json, ...], *names: str, default: int | None = None) -> int:
    found = (source[name] for source in sources for name in names if name in source)
    number = next((value for value in found if type(value) is int and value > 0), default)
    if number is None:
        raise ModelError(f"neither its graph nor its configuration tells {names[0]}")
    return number


def _cache_shapes(signature: Signature, sources: tuple[_Json, ...]) -> tuple[tuple[int, int], ...]:
    """As the graph tells them, or else the configuration."""

    def heads() -> int:
        return _number(sources, "num_key_value_heads", "num_attention_heads", "n_head")

    def size() -> int:
        told = _number(sources, "head_dim", "head_size", default=0)
        return told or _number(sources, "hidden_size", "n_embd") // _number(sources, "num_attention_heads", "n_head")

    return tuple((port.shape[1] or heads(), port.shape[3] or size()) for port in signature.past)


def _config(
    signature: Signature, shapes: tuple[tuple[int, int], ...], sources: tuple[_Json, ...], tokenizer: JsonTokenizer
) -> ModelConfig:
    """As far as it is told; what only weights would need stands at zero where it is not."""
    vocab_size = signature.logits.shape[2] or _number(sources, "vocab_size")
    if len(tokenizer.tokens) > vocab_size:
        raise ModelError(f"its tokenizer has {len(tokenizer.tokens)} tokens, more than the {vocab_size} logits")
    num_kv_heads, head_dim = max(shapes)
    num_heads = _number(sources, "num_attention_heads", "n_head", default=num_kv_heads)
    kinds = (str(source[name]) for source in sources for name in ("model_type", "type") if name in source)
    return ModelConfig(
        architecture=next(kinds, "onnx"),
        vocab_size=vocab_size,
        hidden_size=_number(sources, "hidden_size", "n_embd", default=num_heads * head_dim),
        num_layers=len(shapes) // 2,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        intermediate_size=_number(sources, "intermediate_size", default=0),
        rms_norm_eps=0.0,
        rope_theta=0.0,
        context_length=_number(sources, *_LENGTHS),
        tied_embeddings=False,
        rope_interleaved=False,
    )

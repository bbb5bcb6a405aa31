"""Small models with random weights, written as Hugging Face folders: config.json, safetensors, tokenizer.json."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.gguf_files import CHATML, END_THINK, EOS, IM_END, IM_START, MERGES, THINK, bpe_vocabulary, spm_vocabulary

QWEN2_RULES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
}


def config_of(kind: str, **changes: Any) -> dict[str, Any]:
    """config.json of one of the kinds that are converted, as its makers write it."""
    config: dict[str, Any] = SIZES | {"model_type": kind, "vocab_size": 352, "rms_norm_eps": 1e-5, "rope_theta": 5e4}
    if kind in ("gemma3_text", "gemma3"):
        config |= {"query_pre_attn_scalar": 16, "sliding_window": 7, "sliding_window_pattern": 2}
        config |= {"rope_local_base_freq": 2e4, "rms_norm_eps": 1e-6}
    else:
        config |= {"tie_word_embeddings": False, "hidden_act": "silu"}
    return config | changes


def tensors_of(config: Mapping[str, Any], seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """By Hugging Face's names, (out, in) for matrices."""
    kind, hidden, inner = config["model_type"], config["hidden_size"], config["intermediate_size"]
    size = config["head_dim"]
    query, key = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    gemma = kind.startswith("gemma3")
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
        "self_attn.q_proj.weight": (query, hidden),
        "self_attn.k_proj.weight": (key, hidden),
        "self_attn.v_proj.weight": (key, hidden),
        "self_attn.o_proj.weight": (hidden, query),
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
    }
    if kind == "qwen2":
        layer |= {f"self_attn.{part}_proj.bias": (width,) for part, width in (("q", query), ("k", key), ("v", key))}
    if kind == "qwen3" or gemma:
        layer |= {"self_attn.q_norm.weight": (size,), "self_attn.k_norm.weight": (size,)}
    if gemma:
        layer |= {"pre_feedforward_layernorm.weight": (hidden,), "post_feedforward_layernorm.weight": (hidden,)}
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    for index in range(config["num_hidden_layers"]):
        shapes |= {f"model.layers.{index}.{name}": shape for name, shape in layer.items()}
    if not config.get("tie_word_embeddings", gemma):
        shapes["lm_head.weight"] = (config["vocab_size"], hidden)
    generator = np.random.default_rng(seed)
    return {name: _random(generator, name, shape, 0 if gemma else 1) for name, shape in shapes.items()}


def _random(generator: np.random.Generator, name: str, shape: tuple[int, ...], one: int) -> NDArray[np.float32]:
    """Gains near `one`, biases near 0, matrices scaled to keep the activations' size."""
    noise = generator.standard_normal(shape)
    if len(shape) == 2:
        return (noise / np.sqrt(shape[1])).astype(np.float32)
    return (0.1 * noise + (0 if name.endswith("bias") else one)).astype(np.float32)


def write_folder(
    folder: Path,
    config: Mapping[str, Any],
    *,
    tensors: Mapping[str, NDArray[np.float32]] | None = None,
    tokenizer: Mapping[str, Any] | None = None,
    dtype: str = "F32",
    shards: int = 1,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """A whole folder; `settings` is tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = dict(tensors_of(config) if tensors is None else tensors)
    layout = tokenizer or (sentence_pieces() if config["model_type"].startswith("gemma3") else byte_level())
    spm = layout["model"].get("byte_fallback")
    told = settings or {"eos_token": "</s>" if spm else IM_END, "bos_token": "<s>" if spm else EOS}
    _write_json(folder / "config.json", config)
    _write_json(folder / "tokenizer.json", layout)
    _write_json(folder / "tokenizer_config.json", told)
    (folder / "chat_template.jinja").write_text(CHATML)
    if shards == 1:
        write_safetensors(folder / "model.safetensors", arrays, dtype)
        return folder
    names = list(arrays)
    files = {name: f"model-{index % shards + 1:05}-of-{shards:05}.safetensors" for index, name in enumerate(names)}
    for path in set(files.values()):
        write_safetensors(folder / path, {name: arrays[name] for name in names if files[name] == path}, dtype)
    _write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": files})
    return folder


def write_safetensors(path: Path, arrays: Mapping[str, NDArray[np.float32]], dtype: str = "F32") -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, array in arrays.items():
        raw = _raw(array, dtype)
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def _raw(array: NDArray[np.float32], dtype: str) -> bytes:
    if dtype == "BF16":
        return (array.view(np.uint32) >> 16).astype("<u2").tobytes()  # cut off, not rounded
    return array.astype({"F32": "<f4", "F16": "<f2", "F64": "<f8"}[dtype]).tobytes()


def byte_level(rules: str = QWEN2_RULES, **changes: Any) -> dict[str, Any]:
    """tokenizer.json of a byte-level BPE, as Qwen's."""
    ids = {text: token for token, text in enumerate(bpe_vocabulary())}
    special = (EOS, IM_START, IM_END)
    added = [_added(ids[text], text, text in special) for text in (*special, THINK, END_THINK)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    cut = {"type": "Split", "pattern": {"Regex": rules}, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [cut, byte_level]},
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "vocab": {text: token for text, token in ids.items() if text not in (*special, THINK, END_THINK)},
            "merges": list(MERGES),
        },
    } | changes


def sentence_pieces(**changes: Any) -> dict[str, Any]:
    """tokenizer.json of a SentencePiece BPE, as Gemma's: no space in front, bytes for what has no piece."""
    tokens, scores = spm_vocabulary()
    ids = {text: token for token, text in enumerate(tokens)}
    ranked = sorted((text for text in ids if len(text) > 1 and not text.startswith("<")), key=lambda t: -scores[ids[t]])
    merges = [
        [text[:place], text[place:]]
        for text in ranked
        for place in range(1, len(text))
        if text[:place] in ids and text[place:] in ids
    ]
    return {
        "version": "1.0",
        "added_tokens": [_added(token, text, True) for token, text in enumerate(("<unk>", "<s>", "</s>"))],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"String": " "},
            "behavior": "MergedWithPrevious",
            "invert": False,
        },
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": ids,
            "merges": merges,
        },
    } | changes


def _added(token: int, text: str, special: bool) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": token, "content": text, "special": special} | flags


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), "utf-8")

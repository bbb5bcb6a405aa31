"""`lite convert`: a Hugging Face folder becomes a GGUF file, by NumPy alone."""

import os
from collections.abc import Mapping
from contextlib import closing
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lite.errors import ModelError, UsageError
from lite.quant.converted import input_files
from lite.quant.drafts import draft_file, refuse_inputs
from lite.quant.gguf import open_gguf
from lite.quant.gguf_formats import bits_of, block_of
from lite.quant.hf_config import HFConfig, read_hf_config
from lite.quant.hf_folder import model_name, named, read_settings
from lite.quant.hf_tensors import adds_one, rotated_heads, tensor_names
from lite.quant.hf_tokenizer import HFTokenizer, read_hf_tokenizer
from lite.quant.hf_weights import StoredTensor, Weights, open_weights
from lite.tokens import Tokenizer

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from numpy.typing import NDArray

__all__ = ["TYPES", "convert"]

TYPES = ("auto", "f32", "f16", "bf16", "q8_0")
"""Of the matrices; auto is the type that they have."""

_ROPE_FACTORS = "rope_freqs.weight"  # where GGUF keeps Llama 3's scaling
_FILE_TYPES = {"f32": 0, "f16": 1, "bf16": 32, "q8_0": 7}  # llama.cpp's numbers of them


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    type: str = "auto",  # noqa: A002  # what users call it
    force: bool = False,
) -> Path:
    """Write the model of a folder to `target`, a GGUF file; returns it.

    The folder has config.json, safetensors and tokenizer.json, of a Llama, Qwen2, Qwen3 or Gemma 3 model. `type` of the
    matrices is one of `TYPES`; vectors are float32. Raises ModelError for what is damaged or cannot be expressed,
    UsageError, and nothing is written then.
    """
    folder = Path(source)
    if type.lower() not in TYPES:
        raise UsageError(f"unknown type {type!r}: there is {', '.join(TYPES)}")
    settings = read_settings(folder)
    config = named(folder, "config.json", lambda: read_hf_config(settings))
    with open_weights(folder) as weights:
        refuse_inputs(Path(target), input_files(folder))
        names = named(folder, "a weights file", lambda: tensor_names(config, weights.tensors))
        rows = weights.tensors[names["token_embd.weight"]].shape[0]
        tokenizer = named(folder, "tokenizer.json", lambda: read_hf_tokenizer(folder, settings, rows))
        kind = _kind(type.lower(), weights.tensors[names["token_embd.weight"]])
        num_bytes = sum(stored.num_bytes for stored in weights.tensors.values()) * (2 if kind == "f32" else 1)
        with draft_file(Path(target), force=force, num_bytes=num_bytes) as draft:
            _write(draft, folder, config, tokenizer, names, weights, kind)
            _check(draft, folder, tokenizer)
    return Path(target)


def _kind(asked: str, embedding: StoredTensor) -> str:
    return {"F32": "f32", "F64": "f32", "F16": "f16", "BF16": "bf16"}[embedding.type] if asked == "auto" else asked


def _write(
    path: Path,
    folder: Path,
    config: HFConfig,
    tokenizer: HFTokenizer,
    names: Mapping[str, str],
    weights: Weights,
    kind: str,
) -> None:
    """One tensor at a time is in memory."""
    from gguf import GGMLQuantizationType, GGUFWriter

    keys = {f"{config.architecture}.{name}": value for name, value in config.keys.items()}
    title = model_name(folder).encode(errors="replace").decode()  # a folder's need not be text
    about = {"general.name": title, "general.file_type": _FILE_TYPES[kind]}
    shapes = {ours: weights.tensors[name].shape for ours, name in names.items()}
    factors = config.rope.factors(config.head_dim, config.rope_theta) if config.rope else []
    shapes |= {_ROPE_FACTORS: (len(factors),)} if factors else {}
    with closing(GGUFWriter(path, config.architecture)) as writer:
        for key, value in (about | keys | {"general.quantization_version": 2} | dict(tokenizer.keys)).items():
            _add_key(writer, key, value)
        for ours, shape in shapes.items():
            stored = _stored_type(ours, shape, kind)
            number = GGMLQuantizationType[stored]
            writer.add_tensor_info(ours, shape, np.dtype(np.float32), _num_bytes(shape, stored), number)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for ours, shape in shapes.items():
            if ours == _ROPE_FACTORS:
                writer.write_tensor_data(np.array(factors, np.float32))
            else:
                writer.write_tensor_data(_data(config, ours, names[ours], weights, _stored_type(ours, shape, kind)))


def _add_key(writer: "GGUFWriter", key: str, value: Any) -> None:
    """With the type that llama.cpp's converter gives it."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _stored_type(name: str, shape: tuple[int, ...], kind: str) -> str:
    """GGUF's type: vectors are float32, rows that Q8_0 does not suit float16."""
    if len(shape) == 1:
        return "F32"
    return "F16" if kind == "q8_0" and shape[-1] % block_of("Q8_0") else kind.upper()


def _num_bytes(shape: tuple[int, ...], stored: str) -> int:
    return int(prod(shape) * bits_of(stored)) // 8


def _data(config: HFConfig, ours: str, name: str, weights: Weights, stored: str) -> "NDArray[Any]":
    """What is written of a tensor: its own bits where the type stays. Raises ModelError for what a type cannot hold."""
    import gguf

    if weights.tensors[name].type == stored:
        values = _rearranged(config, ours, weights.stored(name))
        _check_finite(ours, values, stored)
        return np.ascontiguousarray(values)
    values = _rearranged(config, ours, weights.array(name))
    _check_finite(ours, values, "F32")
    with np.errstate(over="ignore"):
        encoded: NDArray[Any] = gguf.quants.quantize(values, gguf.GGMLQuantizationType[stored])
    if stored == "F16":
        _check_finite(ours, encoded, stored)
    return encoded


def _check_finite(name: str, values: "NDArray[Any]", stored: str) -> None:
    exponents = 0x7F80  # of a bfloat16
    finite = (values & exponents) != exponents if stored == "BF16" else np.isfinite(values)
    if not finite.all():
        raise ModelError(f"the tensor {name!r} holds numbers that {stored} cannot: choose another --type")


def _rearranged(config: HFConfig, name: str, values: "NDArray[Any]") -> "NDArray[Any]":
    """Llama's rotary pairs become neighbours, and Gemma's gains, float32, get the one that is added to them."""
    if adds_one(config, name):
        return values + np.float32(1)
    if heads := rotated_heads(config, name):
        halves = values.reshape(heads, 2, config.head_dim // 2, -1)
        return halves.swapaxes(1, 2).reshape(values.shape)
    return values


def _check(path: Path, folder: Path, tokenizer: HFTokenizer) -> None:
    """Read the draft as an engine would. Raises ModelError with the folder's name, not the draft's."""
    try:
        with open_gguf(path) as file:
            tokenizer.check(Tokenizer.from_gguf(file))
    except ModelError as error:
        reason = str(error).replace(f"{path}: ", "").partition("; download or convert")[0]
        raise ModelError(f"{folder}: {reason}") from None

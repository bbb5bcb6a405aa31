"""From GGUF metadata to a model's dimensions, and from those to the shape every tensor must have."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from lite.errors import ModelError
from lite.models import ModelConfig, TensorInfo
from lite.quant.gguf_header import Value

__all__ = ["ARCHITECTURES", "check_tensors", "expected_shapes", "read_config", "rope_divisors"]

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma3")

_REQUIRED = 0  # a default that is out of every range: the key must be there
_MAX_CONTEXT = 1 << 27
_GEMMA_PERIOD = 6  # every so many layers one is global, where the file does not tell
_IGNORED = (".attn_rot_embd.weight", ".attention.rotary_emb.inv_freq")  # tables that old converters left behind


@dataclass(frozen=True, slots=True)
class _Metadata:
    """Typed and bounded access to an architecture's own keys."""

    values: Mapping[str, Value]
    architecture: str

    def integer(self, name: str, limit: int, default: int = _REQUIRED) -> int:
        key = f"{self.architecture}.{name}"
        value = self.values.get(key, default)
        if key not in self.values and default == _REQUIRED:
            raise ModelError(f"the metadata key {key} is missing")
        if type(value) is not int or not 1 <= value <= limit:
            raise ModelError(f"{key} is {_short(value)}, it must be a whole number from 1 to {limit}")
        return value

    def number(self, name: str, low: float, high: float, default: float = math.nan) -> float:
        key = f"{self.architecture}.{name}"
        value = self.values.get(key, default)
        if key not in self.values and math.isnan(default):
            raise ModelError(f"the metadata key {key} is missing")
        if isinstance(value, bool | str | tuple) or not low <= value <= high:
            raise ModelError(f"{key} is {_short(value)}, it must be a number from {low:g} to {high:g}")
        return float(value)


def read_config(values: Mapping[str, Value], tensors: Mapping[str, TensorInfo]) -> ModelConfig:
    """The model's dimensions, each bounded; without `rope_factors`, whose numbers lie among the weights."""
    architecture = _architecture(values)
    metadata = _Metadata(values, architecture)
    hidden_size = metadata.integer("embedding_length", 1 << 17)
    num_heads = metadata.integer("attention.head_count", 1 << 10)
    num_kv_heads = metadata.integer("attention.head_count_kv", num_heads, default=num_heads)
    if num_heads % num_kv_heads:
        raise ModelError(f"{num_heads} attention heads cannot share {num_kv_heads} key-value heads evenly")
    num_layers = metadata.integer("block_count", 1 << 10)
    window = _sliding_window(metadata)
    return ModelConfig(
        architecture=architecture,
        vocab_size=_vocab_size(tensors),
        hidden_size=hidden_size,
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=_head_dim(metadata, hidden_size, num_heads),
        intermediate_size=metadata.integer("feed_forward_length", 1 << 20),
        rms_norm_eps=metadata.number("attention.layer_norm_rms_epsilon", 1e-12, 0.1),
        rope_theta=metadata.number("rope.freq_base", 1.0, 1e12, default=10_000.0),
        context_length=metadata.integer("context_length", _MAX_CONTEXT),
        tied_embeddings="output.weight" not in tensors,
        rope_interleaved=architecture == "llama",
        sliding_window=window,
        local_layers=_local_layers(metadata, num_layers) if window else (),
        local_rope_theta=metadata.number("rope.freq_base_swa", 1.0, 1e12, default=10_000.0),
    )


def rope_divisors(config: ModelConfig, values: Mapping[str, Value], factors: tuple[float, ...]) -> tuple[float, ...]:
    """Linear scaling, which is metadata, and Llama 3's `factors` as one divisor a rotary pair; () without scaling."""
    linear = _linear_rope_factor(values, config.architecture)
    scaled = tuple(linear * factor for factor in factors or (1.0,) * (config.head_dim // 2))
    if not all(1e-6 <= factor <= 1e6 for factor in scaled):
        raise ModelError(f"the rope factors reach from {min(scaled):g} to {max(scaled):g}, beyond 1e-6 to 1e6")
    return () if set(scaled) == {1.0} else scaled


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape, (out, in) for matrices, of every tensor that the architecture has."""
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (config.vocab_size, config.hidden_size),
        "output_norm.weight": (config.hidden_size,),
    }
    if not config.tied_embeddings:
        shapes["output.weight"] = (config.vocab_size, config.hidden_size)
    layer = _layer_shapes(config)
    for index in range(config.num_layers):
        shapes |= {f"blk.{index}.{name}": shape for name, shape in layer.items()}
    return shapes


def check_tensors(config: ModelConfig, tensors: Mapping[str, TensorInfo]) -> None:
    """Refuse a file whose tensors are not exactly those of its architecture."""
    expected = expected_shapes(config)
    if missing := expected.keys() - tensors.keys():
        raise ModelError(f"the tensors {_some(missing)} are missing from this {config.architecture} model")
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            raise ModelError(f"tensor {name!r} has shape {tensors[name].shape}, the metadata ask for {shape}")
    strangers = {name for name in tensors.keys() - expected.keys() if not name.endswith(_IGNORED)}
    if strangers := strangers - {"rope_freqs.weight"}:
        raise ModelError(f"the tensors {_some(strangers)} are not read in {config.architecture} models")
    _check_rope_factors(config, tensors)


def _layer_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    hidden, inner = config.hidden_size, config.intermediate_size
    query, key = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "attn_norm.weight": (hidden,),
        "attn_q.weight": (query, hidden),
        "attn_k.weight": (key, hidden),
        "attn_v.weight": (key, hidden),
        "attn_output.weight": (hidden, query),
        "ffn_norm.weight": (hidden,),
        "ffn_gate.weight": (inner, hidden),
        "ffn_up.weight": (inner, hidden),
        "ffn_down.weight": (hidden, inner),
    }
    if config.architecture == "qwen2":
        shapes |= {"attn_q.bias": (query,), "attn_k.bias": (key,), "attn_v.bias": (key,)}
    if config.is_gemma:
        shapes |= {"post_attention_norm.weight": (hidden,), "post_ffw_norm.weight": (hidden,)}
    if config.architecture in ("qwen3", "gemma3"):
        shapes |= {"attn_q_norm.weight": (config.head_dim,), "attn_k_norm.weight": (config.head_dim,)}
    return shapes


def _architecture(values: Mapping[str, Value]) -> str:
    architecture = values.get("general.architecture")
    if architecture not in ARCHITECTURES or not isinstance(architecture, str):
        raise ModelError(f"the architecture {_short(architecture)} is not supported, only {', '.join(ARCHITECTURES)}")
    if values.get(f"{architecture}.expert_count", 0):
        raise ModelError("mixture-of-experts models are not supported, only dense ones")
    if values.get("split.count", 1) not in (0, 1):
        raise ModelError("this is one part of a split model; join the parts with llama-gguf-split --merge")
    return architecture


def _vocab_size(tensors: Mapping[str, TensorInfo]) -> int:
    if not tensors:
        raise ModelError("it is a vocabulary without weights, not a model")
    embedding = tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise ModelError("the matrix token_embd.weight is missing; only complete language models are read")
    if embedding.shape[0] > 1 << 22:
        raise ModelError(f"token_embd.weight has {embedding.shape[0]} rows, more than the limit of {1 << 22}")
    return embedding.shape[0]


def _head_dim(metadata: _Metadata, hidden_size: int, num_heads: int) -> int:
    head_dim = metadata.integer("attention.key_length", 1 << 10, default=max(1, hidden_size // num_heads))
    if f"{metadata.architecture}.attention.key_length" not in metadata.values and hidden_size % num_heads:
        raise ModelError(f"the hidden size {hidden_size} cannot be divided among {num_heads} attention heads")
    if head_dim % 2:
        raise ModelError(f"attention heads of size {head_dim} cannot be rotated in pairs, the size must be even")
    for name in ("attention.value_length", "rope.dimension_count"):
        if (size := metadata.integer(name, 1 << 10, default=head_dim)) != head_dim:
            raise ModelError(f"{name} is {size}, only the size of the heads, {head_dim}, is supported")
    return head_dim


def _sliding_window(metadata: _Metadata) -> int:
    """Of Gemma 3's local layers, in positions; 0 where there are none. Those of other architectures use no window."""
    if metadata.architecture != "gemma3":
        return 0
    if metadata.number("final_logit_softcapping", -1e6, 1e6, default=0.0):
        raise ModelError("a cap of the final logits is not supported in gemma3 models, which have none")
    key = f"{metadata.architecture}.attention.sliding_window"
    return metadata.integer("attention.sliding_window", _MAX_CONTEXT) if metadata.values.get(key, 0) else 0


def _local_layers(metadata: _Metadata, num_layers: int) -> tuple[bool, ...]:
    """Told layer by layer, or by the period after which one layer is global."""
    name = "attention.sliding_window_pattern"
    told = metadata.values.get(f"{metadata.architecture}.{name}")
    if isinstance(told, tuple):
        if len(told) != num_layers:
            raise ModelError(f"{metadata.architecture}.{name} has {len(told)} items for {num_layers} layers")
        return tuple(map(bool, told))
    period = metadata.integer(name, 1 << 10, default=_GEMMA_PERIOD)
    return tuple(layer % period < period - 1 for layer in range(num_layers))


def _linear_rope_factor(values: Mapping[str, Value], architecture: str) -> float:
    """By what positions are divided; other kinds of scaling are refused by name.

    Llama 3's kind is not metadata in GGUF but a tensor, `rope_freqs.weight`.
    """
    kind = values.get(f"{architecture}.rope.scaling.type", "linear")  # llama.cpp's default
    if kind == "none":
        return 1.0
    if kind != "linear":
        raise ModelError(f"rope scaling of type {_short(kind)} is not supported, only 'none', 'linear' and Llama 3's")
    name = "rope.scaling.factor" if f"{architecture}.rope.scaling.factor" in values else "rope.scale_linear"
    return _Metadata(values, architecture).number(name, 0.0, 1e6, default=1.0) or 1.0


def _check_rope_factors(config: ModelConfig, tensors: Mapping[str, TensorInfo]) -> None:
    factors = tensors.get("rope_freqs.weight")
    if factors and (factors.shape != (config.head_dim // 2,) or factors.type != "F32"):
        asked = f"F32 of shape {(config.head_dim // 2,)}"
        raise ModelError(f"tensor 'rope_freqs.weight' is {factors.type} of shape {factors.shape}, it must be {asked}")


def _some(names: set[str]) -> str:
    """The first three in order, and how many more."""
    shown = ", ".join(repr(name) for name in islice(sorted(names), 3))
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

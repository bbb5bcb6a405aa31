"""From a Hugging Face folder's config.json to GGUF's metadata, for Llama, Qwen2, Qwen3 and Gemma 3."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from lite.errors import ModelError

__all__ = ["ARCHITECTURES", "HFConfig", "Rope", "read_hf_config"]

Key: TypeAlias = int | float | str | bool | list[bool]

ARCHITECTURES: Mapping[str, str] = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma3_text": "gemma3",
    "gemma3": "gemma3",  # with a vision tower, which is left out
}
"""`model_type` -> GGUF's architecture."""

_GEMMA_DEFAULTS = {  # of transformers' Gemma3TextConfig, which published files leave out
    "vocab_size": 262_208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 131_072,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000.0,
    "rope_local_base_freq": 10_000.0,
    "sliding_window": 4096,
    "query_pre_attn_scalar": 256,
    "tie_word_embeddings": True,
    "hidden_activation": "gelu_pytorch_tanh",
}
_DEFAULTS: dict[str, Any] = {
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
}
_ABSENT = {  # what these models may have and we do not compute: refused unless it is off
    "mlp_bias": "biases of the feed-forward part",
    "num_experts": "experts",
    "num_local_experts": "experts",
    "quantization_config": "weights that are quantized already; take the float checkpoint",
    "final_logit_softcapping": "a cap of the final logits",
    "attn_logit_softcapping": "a cap of the attention's logits",
    "use_bidirectional_attention": "attention in both directions",
    "use_sliding_window": "a sliding window",
}
_LIMITS = {  # of whole numbers: those that GGUF's reader has
    "hidden_size": 1 << 17,
    "num_hidden_layers": 1 << 10,
    "num_attention_heads": 1 << 10,
    "num_key_value_heads": 1 << 10,
    "head_dim": 1 << 10,
    "intermediate_size": 1 << 20,
    "vocab_size": 1 << 22,
    "max_position_embeddings": 1 << 27,
    "sliding_window": 1 << 27,
    "sliding_window_pattern": 1 << 10,
    "_sliding_window_pattern": 1 << 10,
}
_LARGEST = 1e30  # of other numbers, which float32 must hold
_GEMMA_27B_LAYERS = 62  # by which GGUF's readers know that the scores are scaled by another size than the heads'
_PATTERN = 6  # every so many layers of Gemma 3 one is global


@dataclass(frozen=True, slots=True, kw_only=True)
class Rope:
    """Llama 3's scaling, from which a table is made; arXiv:2407.21783 has the idea, transformers the formula."""

    factor: float
    low_frequency_factor: float
    high_frequency_factor: float
    old_context: int

    def factors(self, head_dim: int, theta: float) -> list[float]:
        """Divisors of the inverse frequencies, (head_dim / 2,)."""
        return [self._factor(2 * math.pi * theta ** (2 * pair / head_dim)) for pair in range(head_dim // 2)]

    def _factor(self, wavelength: float) -> float:
        if wavelength < self.old_context / self.high_frequency_factor:
            return 1.0
        if wavelength > self.old_context / self.low_frequency_factor:
            return self.factor
        share = (self.old_context / wavelength - self.low_frequency_factor) / (
            self.high_frequency_factor - self.low_frequency_factor
        )
        return 1 / ((1 - share) / self.factor + share)


@dataclass(frozen=True, slots=True, kw_only=True)
class HFConfig:
    """What of the configuration the conversion needs, beside the keys that it writes."""

    architecture: str
    keys: Mapping[str, Key]  # GGUF's, without the architecture's name before them
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    tied: bool
    rope_theta: float
    rope: Rope | None


def read_hf_config(config: Mapping[str, Any]) -> HFConfig:
    """Raises ModelError for a model of another kind, or with a part that is not computed, by its name."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        raise ModelError(f"the model type {kind!r} is not converted, only {', '.join(ARCHITECTURES)}")
    architecture = ARCHITECTURES[kind]
    inner = config.get("text_config", {}) if kind == "gemma3" else {}
    told = {name: value for name, value in (dict(config) | inner).items() if value is not None}
    values = _Values((_GEMMA_DEFAULTS if architecture == "gemma3" else _DEFAULTS) | told)
    _refuse_what_is_not_computed(values, architecture)
    heads = values.integer("num_attention_heads")
    hidden = values.integer("hidden_size")
    head_dim = values.integer("head_dim", hidden // heads)
    kv_heads = values.integer("num_key_value_heads", heads)
    theta, keys, rope = _rope(values, architecture)
    keys |= _window(values) if architecture == "gemma3" else {}
    _check_scale(values, architecture, hidden, heads, head_dim)
    keys |= {
        "context_length": values.integer("max_position_embeddings"),
        "embedding_length": hidden,
        "block_count": values.integer("num_hidden_layers"),
        "feed_forward_length": values.integer("intermediate_size"),
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "attention.layer_norm_rms_epsilon": values.number("rms_norm_eps"),
        "rope.dimension_count": head_dim,
        "rope.freq_base": theta,
        "vocab_size": values.integer("vocab_size"),
    }
    return HFConfig(
        architecture=architecture,
        keys=keys,
        num_layers=values.integer("num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        vocab_size=values.integer("vocab_size"),
        tied=values.truth("tie_word_embeddings"),
        rope_theta=theta,
        rope=rope,
    )


@dataclass(frozen=True, slots=True)
class _Values:
    """Typed access to the configuration."""

    values: Mapping[str, Any]

    def integer(self, name: str, default: int = 0) -> int:
        value = self.values.get(name, default)
        if type(value) is not int or not 1 <= value <= _LIMITS[name]:
            raise ModelError(f"config.json: {name} is {value!r}, it must be a whole number from 1 to {_LIMITS[name]}")
        return value

    def truth(self, name: str) -> bool:
        value = self.values[name]
        if not isinstance(value, bool):
            raise ModelError(f"config.json: {name} is {value!r}, it must be true or false")
        return value

    def number(self, name: str) -> float:
        return _number(self.values, name)


def _number(values: Mapping[str, Any], name: str) -> float:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _LARGEST:
        raise ModelError(f"config.json: {name} is {value!r}, it must be a number above 0 and below {_LARGEST:g}")
    return float(value)


def _refuse_what_is_not_computed(values: _Values, architecture: str) -> None:
    for name, what in _ABSENT.items():
        if values.values.get(name):
            raise ModelError(f"config.json has {name}, which cannot be converted: {what}")
    if values.values.get("attention_bias") and architecture != "qwen2":
        raise ModelError("config.json has attention_bias: biases of the attention are read in qwen2 models only")
    name = "hidden_activation" if architecture == "gemma3" else "hidden_act"
    wanted = "gelu_pytorch_tanh" if architecture == "gemma3" else "silu"
    if (found := values.values.get(name, wanted)) != wanted:
        raise ModelError(f"config.json: {name} is {found!r}, {architecture} models have {wanted!r}")
    if values.values.get("partial_rotary_factor", 1) != 1:
        raise ModelError("config.json has partial_rotary_factor: only heads that are rotated whole are converted")


def _rope(values: _Values, architecture: str) -> tuple[float, dict[str, Key], Rope | None]:
    """The base, keys of linear scaling and of local layers, and Llama 3's scaling.

    transformers 5 writes all of it into `rope_parameters`, for Gemma 3 by the kind of layers.
    """
    parameters = values.values.get("rope_parameters") or {}
    whole = parameters.get("full_attention", parameters)
    local = parameters.get("sliding_attention", {})
    scaling = whole or values.values.get("rope_scaling") or {}
    theta = _number(scaling if "rope_theta" in scaling else values.values, "rope_theta")
    keys: dict[str, Key] = {}
    if architecture == "gemma3":
        at = (local, "rope_theta") if "rope_theta" in local else (values.values, "rope_local_base_freq")
        keys["rope.freq_base_swa"] = _number(*at)
        if local.get("rope_type", "default") != "default":
            raise ModelError("config.json scales the rotation of local layers, which is not supported")
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "linear":
        return theta, keys | {"rope.scaling.type": "linear", "rope.scaling.factor": _number(scaling, "factor")}, None
    if kind == "llama3" and architecture != "gemma3":
        return theta, keys, _llama3(scaling)
    if kind != "default":
        raise ModelError(f"rope scaling of type {kind!r} is not converted, only 'default', 'linear' and 'llama3'")
    return theta, keys, None


def _llama3(scaling: Mapping[str, Any]) -> Rope:
    rope = Rope(
        factor=_number(scaling, "factor"),
        low_frequency_factor=_number(scaling, "low_freq_factor"),
        high_frequency_factor=_number(scaling, "high_freq_factor"),
        old_context=int(_number(scaling, "original_max_position_embeddings")),
    )
    if rope.low_frequency_factor >= rope.high_frequency_factor:
        raise ModelError("config.json: the low_freq_factor of rope_scaling must be below its high_freq_factor")
    return rope


def _window(values: _Values) -> dict[str, Key]:
    """Which layers of Gemma 3 are local."""
    layers = values.integer("num_hidden_layers")
    kinds = values.values.get("layer_types")
    name = "sliding_window_pattern" if "sliding_window_pattern" in values.values else "_sliding_window_pattern"
    if kinds is None:
        period = values.integer(name, _PATTERN)
        local = [(layer + 1) % period != 0 for layer in range(layers)]
    elif isinstance(kinds, list) and len(kinds) == layers and {*kinds} <= {"sliding_attention", "full_attention"}:
        local = [kind == "sliding_attention" for kind in kinds]
    else:
        raise ModelError(f"config.json: layer_types must be sliding_attention or full_attention, {layers} times")
    if not any(local):
        return {}
    return {
        "attention.sliding_window": values.integer("sliding_window"),
        "attention.sliding_window_pattern": local,
    }


def _check_scale(values: _Values, architecture: str, hidden: int, heads: int, head_dim: int) -> None:
    """GGUF has no key for the size that scales Gemma's scores: its readers know two cases."""
    if architecture != "gemma3":
        return
    size = hidden // heads if values.integer("num_hidden_layers") == _GEMMA_27B_LAYERS else head_dim
    if (found := values.values["query_pre_attn_scalar"]) != size:
        raise ModelError(
            f"config.json: query_pre_attn_scalar is {found!r}, GGUF can only express {size} for this model"
        )

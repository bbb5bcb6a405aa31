"""The models of Hugging Face folders in float64 NumPy, from the tensors and the configuration as they stand there.

Nothing of the conversion is used: rotary pairs are halves, Gemma's gains lack their one, windows and scales are read
from config.json.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["logits"]

Array = NDArray[np.float64]


def logits(
    config: Mapping[str, Any],
    tensors: Mapping[str, NDArray[np.float32]],
    ids: Sequence[int],
    *,
    half_gelu: bool = False,
) -> Array:
    """Of every position, (len(ids), vocab). `half_gelu`: the GELU as llama.cpp has it, from a table of float16."""
    model = _Model(config, tensors, half_gelu)
    hidden = model.weight("embed_tokens.weight")[list(ids)]
    if model.gemma:
        hidden = hidden * np.sqrt(config["hidden_size"])
    for layer in range(config["num_hidden_layers"]):
        hidden = model.layer(layer, hidden)
    head = tensors.get("lm_head.weight", tensors["model.embed_tokens.weight"]).astype(np.float64)
    return model.norm(hidden, "norm.weight") @ head.T


class _Model:
    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, Any], half_gelu: bool) -> None:
        self.config, self.tensors, self.half_gelu = config, tensors, half_gelu
        self.gemma = config["model_type"].startswith("gemma3")

    def weight(self, name: str) -> Array:
        return np.asarray(self.tensors[f"model.{name}"], np.float64)

    def norm(self, rows: Array, name: str) -> Array:
        gain = self.weight(name) + (1 if self.gemma else 0)
        normed: Array = rows / np.sqrt((rows**2).mean(-1, keepdims=True) + self.config["rms_norm_eps"]) * gain
        return normed

    def layer(self, index: int, hidden: Array) -> Array:
        at = f"layers.{index}."
        attended = self.attention(index, self.norm(hidden, at + "input_layernorm.weight"))
        if self.gemma:
            attended = self.norm(attended, at + "post_attention_layernorm.weight")
        hidden = hidden + attended
        before = "pre_feedforward_layernorm" if self.gemma else "post_attention_layernorm"
        updated = self.feed_forward(at, self.norm(hidden, f"{at}{before}.weight"))
        if self.gemma:
            updated = self.norm(updated, at + "post_feedforward_layernorm.weight")
        return hidden + updated

    def attention(self, index: int, rows: Array) -> Array:
        config, at = self.config, f"layers.{index}.self_attn."
        local = self.gemma and (index + 1) % config["sliding_window_pattern"] != 0
        query, key, value = (self.heads(at, part, rows) for part in "qkv")
        query, key = self.rotated(query, local), self.rotated(key, local)
        groups = config["num_attention_heads"] // config["num_key_value_heads"]
        size = config["query_pre_attn_scalar"] if self.gemma else config["head_dim"]
        scores = np.einsum("qhd,khd->hqk", query, np.repeat(key, groups, axis=1)) / np.sqrt(size)
        places = np.arange(len(rows))
        visible = places[None, :] <= places[:, None]
        if local:
            visible &= places[None, :] > places[:, None] - config["sliding_window"]
        scores = np.where(visible, scores, -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        attended = np.einsum("hqk,khd->qhd", shares, np.repeat(value, groups, axis=1))
        return attended.reshape(len(rows), -1) @ self.weight(at + "o_proj.weight").T

    def heads(self, at: str, part: str, rows: Array) -> Array:
        found = rows @ self.weight(f"{at}{part}_proj.weight").T
        if f"model.{at}{part}_proj.bias" in self.tensors:
            found = found + self.weight(f"{at}{part}_proj.bias")
        heads = found.reshape(len(rows), -1, self.config["head_dim"])
        return self.norm(heads, f"{at}{part}_norm.weight") if f"model.{at}{part}_norm.weight" in self.tensors else heads

    def rotated(self, heads: Array, local: bool) -> Array:
        """x cos + rotate_half(x) sin."""
        half = heads.shape[-1] // 2
        angles = np.outer(np.arange(len(heads)), self.frequencies(local))
        cos, sin = (np.tile(turn(angles), 2)[:, None, :] for turn in (np.cos, np.sin))
        return heads * cos + np.concatenate([-heads[..., half:], heads[..., :half]], axis=-1) * sin

    def frequencies(self, local: bool) -> Array:
        config = self.config
        pairs = config["head_dim"] // 2
        frequencies: Array = (config["rope_local_base_freq"] if local else config["rope_theta"]) ** (
            -np.arange(pairs) / pairs
        )
        scaling = None if local else config.get("rope_scaling")
        if scaling is None:
            return frequencies
        if scaling["rope_type"] == "linear":
            return frequencies / scaling["factor"]
        return np.array([_llama3(frequency, scaling) for frequency in frequencies])

    def feed_forward(self, at: str, rows: Array) -> Array:
        gate, up, down = (self.weight(f"{at}mlp.{part}_proj.weight") for part in ("gate", "up", "down"))
        gated = rows @ gate.T
        opened = self.gelu(gated) if self.gemma else gated / (1 + np.exp(-gated))
        updated: Array = (opened * (rows @ up.T)) @ down.T
        return updated

    def gelu(self, rows: Array) -> Array:
        entered = rows.astype(np.float16).astype(np.float64) if self.half_gelu else rows
        opened: Array = 0.5 * entered * (1 + np.tanh(np.sqrt(2 / np.pi) * (entered + 0.044715 * entered**3)))
        return opened.astype(np.float16).astype(np.float64) if self.half_gelu else opened


def _llama3(frequency: float, scaling: Mapping[str, Any]) -> float:
    """As the release of Llama 3.1 has it: long waves are slowed down, short ones stay, between them it is blended."""
    wavelength, old = 2 * np.pi / frequency, scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    if wavelength < old / high:
        return frequency
    if wavelength > old / low:
        return frequency / scaling["factor"]
    smooth = (old / wavelength - low) / (high - low)
    return float((1 - smooth) * frequency / scaling["factor"] + smooth * frequency)

"""What the tensors of a Hugging Face folder are called in GGUF, and what is different about their numbers there."""

from collections.abc import Mapping

from lite.errors import ModelError
from lite.quant.hf_config import HFConfig
from lite.quant.hf_weights import StoredTensor

__all__ = ["adds_one", "rotated_heads", "tensor_names"]

_NAMES = {  # within a layer
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_GEMMA_NAMES = _NAMES | {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_WHOLE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_IGNORED = (".rotary_emb.inv_freq", "vision_tower.", "multi_modal_projector.")  # computed, and not about text


def tensor_names(config: HFConfig, tensors: Mapping[str, StoredTensor]) -> dict[str, str]:
    """GGUF's name -> the folder's, of every tensor that is read. Raises ModelError for one that is not known."""
    found: dict[str, str] = {}
    for name in tensors:
        plain = name.removeprefix("language_model.").replace("model.language_model.", "model.")
        if any(part in plain for part in _IGNORED):
            continue
        ours = _WHOLE.get(plain) or _layer_name(plain, config)
        if ours is None:
            raise ModelError(f"the tensor {name!r} is not known in {config.architecture} models")
        shape = tensors[name].shape
        if len(shape) not in (1, 2) or 0 in shape:
            raise ModelError(f"the tensor {name!r} has the shape {shape}, only vectors and matrices are known")
        if (heads := rotated_heads(config, ours)) and shape[0] != heads * config.head_dim:
            raise ModelError(f"{name!r} has {shape[0]} rows, {heads} heads of {config.head_dim} have another number")
        found[ours] = name
    if "token_embd.weight" not in found:
        raise ModelError("the tensor model.embed_tokens.weight is missing: only complete models are read")
    if config.tied:
        found.pop("output.weight", None)
    elif "output.weight" not in found:
        raise ModelError("the tensor lm_head.weight is missing, and config.json does not tie it to the embedding")
    return dict(sorted(found.items(), key=lambda pair: _place(pair[0])))


def adds_one(config: HFConfig, name: str) -> bool:
    """Whether a tensor, by GGUF's name, holds Gemma's gains, which lack in the folder the one that GGUF's have."""
    return config.architecture == "gemma3" and name.endswith("norm.weight")


def rotated_heads(config: HFConfig, name: str) -> int:
    """How many heads a matrix, by GGUF's name, has whose rows GGUF puts in another order; 0 for all others."""
    if config.architecture != "llama":
        return 0
    return {"attn_q.weight": config.num_heads, "attn_k.weight": config.num_kv_heads}.get(name.split(".", 2)[-1], 0)


def _place(name: str) -> tuple[int, int, str]:
    """The embedding, the layers in order, the rest."""
    parts = name.split(".")
    return (1, int(parts[1]), name) if parts[0] == "blk" else (0 if parts[0] == "token_embd" else 2, 0, name)


def _layer_name(name: str, config: HFConfig) -> str | None:
    parts = name.removeprefix("model.layers.").split(".", 1)
    if not name.startswith("model.layers.") or len(parts) < 2 or not parts[0].isdecimal():
        return None
    inner, _, suffix = parts[1].rpartition(".")
    ours = (_GEMMA_NAMES if config.architecture == "gemma3" else _NAMES).get(inner)
    return f"blk.{int(parts[0])}.{ours}.{suffix}" if ours and suffix in ("weight", "bias") else None

"""What a decoder-only model is made of, and how much memory one needs."""

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Protocol

from lite.errors import NotEnoughMemory

__all__ = [
    "THINKING_SWITCH",
    "ModelConfig",
    "ModelDescription",
    "ModelFile",
    "TensorInfo",
    "TensorSummary",
    "available_memory",
    "describe",
    "has_thinking_switch",
    "memory_needed",
    "require_memory",
    "think_tags",
]

THINKING_SWITCH = "enable_thinking"  # the name that Qwen3's template gave it, and others took over
_THINK_TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("[THINK]", "[/THINK]"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("◁think▷", "◁/think▷"),
)
_BYTES_PER_LOGIT = 16  # float32 logits, and what the draw makes of them: a copy, a mask, a temporary


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Dimensions and constants of a Llama, Qwen2, Qwen3 or Gemma 3 decoder."""

    architecture: str  # "llama", "qwen2", "qwen3", "gemma3"
    vocab_size: int  # rows of the embedding, padding included
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    rms_norm_eps: float
    rope_theta: float
    context_length: int
    tied_embeddings: bool
    rope_interleaved: bool  # True for llama-architecture GGUF: rotary pairs are neighbours, not halves
    rope_factors: tuple[float, ...] = ()  # (head_dim / 2,) divisors of the inverse frequencies; () is all ones
    sliding_window: int = 0  # positions that a local layer attends to, its own included; 0: no layer is local
    local_layers: tuple[bool, ...] = ()  # by layer; () is none
    local_rope_theta: float = 10_000.0  # of local layers, which have no factors

    @property
    def is_gemma(self) -> bool:
        """Embeddings are scaled, updates are normed before they are added, and the gate is a GELU (tanh), not a SiLU.

        The gains of norms are those of the file, in which converters have already added Gemma's one.
        """
        return self.architecture == "gemma3"

    @property
    def embedding_scale(self) -> float:
        return self.hidden_size**0.5 if self.is_gemma else 1.0

    @property
    def attention_scale(self) -> float:
        """What scores are multiplied by; Gemma's largest, the one of 62 layers, takes another size than its heads'."""
        size = self.hidden_size // self.num_heads if self.is_gemma and self.num_layers == 62 else self.head_dim
        return float(size**-0.5)

    def is_local(self, layer: int) -> bool:
        """Whether a layer attends to the last `sliding_window` positions only."""
        return bool(self.local_layers) and self.local_layers[layer]

    @property
    def kv_bytes_per_token(self) -> int:
        """Of a float32 cache, keys and values of all layers."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * 4


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where a tensor lies in its file and what it is."""

    name: str
    shape: tuple[int, ...]  # in numpy's order, (rows, columns): (out, in) for a matrix
    type: str  # "F32", "Q8_0", ...
    offset: int  # bytes from the start of the file
    num_bytes: int


class ModelFile(Protocol):
    """An opened and checked model file, as the tokenizer, the templates and `lite show` see it."""

    @property
    def path(self) -> Path: ...
    @property
    def metadata(self) -> Mapping[str, object]: ...  # by GGUF's keys; arrays are tuples of one type
    @property
    def config(self) -> ModelConfig: ...
    @property
    def tensors(self) -> Mapping[str, TensorInfo]: ...


@dataclass(frozen=True, slots=True)
class TensorSummary:
    """All tensors of one type."""

    type: str
    num_tensors: int
    num_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """What `lite show` tells of a file: read from its tensors, never from its label."""

    name: str
    path: Path
    config: ModelConfig
    num_parameters: int
    tensor_types: tuple[TensorSummary, ...]  # most bytes first
    tokenizer: str  # "gpt2" or "llama", as the file says
    pre_tokenizer: str  # "" where the file names none
    num_tokens: int
    has_template: bool
    think_open: str  # "" where the template knows no thought
    think_close: str
    thinking_switch: bool  # whether thinking can be switched off in the template

    @property
    def weights_bytes(self) -> int:
        return sum(summary.num_bytes for summary in self.tensor_types)


def describe(file: ModelFile) -> ModelDescription:
    """What a file holds, from its header alone."""
    metadata = file.metadata
    tokens, template = metadata.get("tokenizer.ggml.tokens"), str(metadata.get("tokenizer.chat_template", ""))
    think_open, think_close = think_tags(template)
    return ModelDescription(
        name=str(metadata.get("general.name") or file.path.stem),
        path=file.path,
        config=file.config,
        num_parameters=sum(prod(tensor.shape) for tensor in file.tensors.values()),
        tensor_types=_tensor_types(file.tensors),
        tokenizer=str(metadata.get("tokenizer.ggml.model", "")),
        pre_tokenizer=str(metadata.get("tokenizer.ggml.pre", "")),
        num_tokens=len(tokens) if isinstance(tokens, tuple) else 0,
        has_template=bool(template),
        think_open=think_open,
        think_close=think_close,
        thinking_switch=has_thinking_switch(template),
    )


def think_tags(template: str) -> tuple[str, str]:
    """The tags around a thought that a chat template mentions; two empty texts when the model has no such mode."""
    return next((tags for tags in _THINK_TAGS if any(tag in template for tag in tags)), ("", ""))


def has_thinking_switch(template: str) -> bool:
    """Whether a chat template can be told to leave the thought out."""
    return THINKING_SWITCH in template


def memory_needed(config: ModelConfig, weights_bytes: int, slots: int, context: int) -> int:
    """Bytes for the weights, a float32 KV cache of `slots` branches of `context` tokens, and one step's logits."""
    kv_bytes = slots * min(context, config.context_length) * config.kv_bytes_per_token
    return weights_bytes + kv_bytes + slots * config.vocab_size * _BYTES_PER_LOGIT


def require_memory(
    config: ModelConfig, weights_bytes: int, slots: int, context: int, available: int | None = None
) -> None:
    """Raise NotEnoughMemory when the need exceeds what is free. `available` in bytes; None asks the system."""
    needed = memory_needed(config, weights_bytes, slots, context)
    free = available_memory() if available is None else available
    if free is not None and needed > free:
        raise NotEnoughMemory(
            f"{slots} samples of {context} tokens need {_size(needed)} ({_size(weights_bytes)} of them weights), but"
            f" {_size(free)} are free; ask for fewer samples, fewer tokens or a smaller model"
        )


def available_memory() -> int | None:
    """Bytes that can be had without swapping, within a container's limit too; None where the system does not tell."""
    limits = [limit for limit in (_free_of_machine(), _free_of_container()) if limit is not None]
    return min(limits, default=None)


def _tensor_types(tensors: Mapping[str, TensorInfo]) -> tuple[TensorSummary, ...]:
    sizes = defaultdict[str, list[int]](list)
    for tensor in tensors.values():
        sizes[tensor.type].append(tensor.num_bytes)
    summaries = (TensorSummary(kind, len(found), sum(found)) for kind, found in sizes.items())
    return tuple(sorted(summaries, key=lambda summary: (-summary.num_bytes, summary.type)))


def _free_of_machine() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return None
    except (OSError, ValueError):
        return _free_pages()


def _free_pages() -> int | None:
    """Where there is no /proc: free pages, or all of them where only those are known (macOS frees them on demand)."""
    for name in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"):
        if name in getattr(os, "sysconf_names", {}):
            return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    return None


def _free_of_container(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What a version 2 control group leaves; its page cache can be had back. None without a limit."""
    try:
        limit = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(counts.get("inactive_file", 0)))
    except (OSError, ValueError):
        return None


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.0f} MiB"

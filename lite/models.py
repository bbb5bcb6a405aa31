"""What a decoder-only model is made of, whatever file it came in."""

from dataclasses import dataclass

__all__ = ["ModelConfig", "RopeScaling"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeScaling:
    """Llama 3's frequency scaling ("llama3" in Hugging Face configs, `rope_freqs.weight` in GGUF)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_context_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Dimensions and constants of a Llama, Qwen2 or Qwen3 decoder."""

    architecture: str  # "llama", "qwen2", "qwen3"
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
    rope_scaling: RopeScaling | None = None

    @property
    def kv_bytes_per_token(self) -> int:
        """Of a float32 cache, keys and values of all layers."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * 4

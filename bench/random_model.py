"""Write a GGUF file with the dimensions of a real model and random weights: its speed is the real one's.

    python bench/random_model.py qwen3-0.6b qwen3.gguf
    python bench/random_model.py smollm2-135m smollm2.gguf --type Q8_0

All matrices get the one type asked for (llama.cpp calls that "pure"). The vocabulary is a byte-level one of the real
size. The file of qwen3-0.6b takes 340 MB as Q4_0 and 638 MB as Q8_0, that of smollm2-135m 77 MB and 144 MB.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType
from tokenizers.pre_tokenizers import ByteLevel

FILE_TYPES = {
    "F32": LlamaFileType.ALL_F32,
    "F16": LlamaFileType.MOSTLY_F16,
    "Q8_0": LlamaFileType.MOSTLY_Q8_0,
    "Q4_0": LlamaFileType.MOSTLY_Q4_0,
}
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimensions:
    """Of a published model; its embedding is its head too."""

    architecture: str
    pre_tokenizer: str
    vocabulary: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    norm_epsilon: float
    rope_base: float


MODELS = {
    "qwen3-0.6b": Dimensions(
        architecture="qwen3",
        pre_tokenizer="qwen2",
        vocabulary=151_936,
        hidden=1024,
        layers=28,
        heads=16,
        kv_heads=8,
        head_dim=128,
        inner=3072,
        norm_epsilon=1e-6,
        rope_base=1e6,
    ),
    "smollm2-135m": Dimensions(
        architecture="llama",
        pre_tokenizer="smollm",
        vocabulary=49_152,
        hidden=576,
        layers=30,
        heads=9,
        kv_heads=3,
        head_dim=64,
        inner=1536,
        norm_epsilon=1e-5,
        rope_base=1e5,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("path", type=Path)
    parser.add_argument("--type", choices=FILE_TYPES, default="Q4_0")
    options = parser.parse_args()
    write_model(options.path, MODELS[options.model], options.type)


def write_model(path: Path, model: Dimensions, file_type: str) -> None:
    kind = GGMLQuantizationType[file_type]
    writer = GGUFWriter(path, model.architecture)
    writer.add_file_type(FILE_TYPES[file_type])
    _add_dimensions(writer, model)
    _add_tokenizer(writer, model)
    generator = np.random.default_rng(0)
    for name, shape in _shapes(model).items():
        if len(shape) == 1:
            writer.add_tensor(name, np.ones(shape, np.float32))
            continue
        matrix = generator.standard_normal(shape, dtype=np.float32) / np.float32(shape[1] ** 0.5)
        writer.add_tensor(name, gguf.quants.quantize(matrix, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_dimensions(writer: GGUFWriter, model: Dimensions) -> None:
    writer.add_name("random")
    writer.add_context_length(8192)
    writer.add_embedding_length(model.hidden)
    writer.add_block_count(model.layers)
    writer.add_feed_forward_length(model.inner)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_key_length(model.head_dim)
    writer.add_value_length(model.head_dim)
    writer.add_rope_dimension_count(model.head_dim)
    writer.add_rope_freq_base(model.rope_base)
    writer.add_layer_norm_rms_eps(model.norm_epsilon)
    writer.add_vocab_size(model.vocabulary)


def _add_tokenizer(writer: GGUFWriter, model: Dimensions) -> None:
    """Every sequence of bytes is a token, the shortest first, until there are enough."""
    letters = sorted(ByteLevel.alphabet())
    pieces, merges = list(letters), []
    size = model.vocabulary - len(CONTROL)
    for left in pieces:  # which grows meanwhile
        right = letters[: size - len(pieces)]
        pieces += [left + letter for letter in right]
        merges += [f"{left} {letter}" for letter in right]
        if len(pieces) == size:
            break
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(model.pre_tokenizer)
    writer.add_token_list([*pieces, *CONTROL])
    writer.add_token_types([TokenType.NORMAL] * size + [TokenType.CONTROL] * len(CONTROL))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(size)
    writer.add_eos_token_id(size + 2)
    writer.add_add_bos_token(False)


def _shapes(model: Dimensions) -> dict[str, tuple[int, ...]]:
    """Of all tensors, by GGUF's names."""
    query, key = model.heads * model.head_dim, model.kv_heads * model.head_dim
    layer: dict[str, tuple[int, ...]] = {
        "attn_norm": (model.hidden,),
        "attn_q": (query, model.hidden),
        "attn_k": (key, model.hidden),
        "attn_v": (key, model.hidden),
        "attn_output": (model.hidden, query),
        "ffn_norm": (model.hidden,),
        "ffn_gate": (model.inner, model.hidden),
        "ffn_up": (model.inner, model.hidden),
        "ffn_down": (model.hidden, model.inner),
    }
    if model.architecture == "qwen3":
        layer |= {"attn_q_norm": (model.head_dim,), "attn_k_norm": (model.head_dim,)}
    whole: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (model.vocabulary, model.hidden),
        "output_norm.weight": (model.hidden,),
    }
    names = {f"blk.{index}.{name}.weight": shape for index in range(model.layers) for name, shape in layer.items()}
    return whole | names


if __name__ == "__main__":
    main()

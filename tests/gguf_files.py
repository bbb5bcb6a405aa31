"""Small models with random weights, written as GGUF files for tests.

`write_gguf(tmp_path / "m.gguf", architecture="llama", tied=False)` is a complete model: weights, tokenizer, template.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType

BOS, EOS, IM_START, IM_END = "<|begin_of_text|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"
THINK, END_THINK = "<think>", "</think>"
_MERGES = (
    "h e,Ġ t,Ġt he,i n,e r,a n,r e,o n,Ġ a,Ġ w,l l,l o,he ll,hell o,w o,Ġ 1,1 2,12 3,Ġ Ġ,ĠĠ ĠĠ,Ċ Ċ,Ã ©,Ġa n,Ġan d,an s,"
    "ans w,answ er,Ġ answ,Ġansw er,i s,Ġ is,' s,a d,ad d,t w,tw o"
)
MERGES = tuple(_MERGES.split(","))
_PIECES = "▁t,he,▁the,in,er,▁a,on,ll,▁h,ell,▁hell,▁hello,lo,ello,▁w,or,ld,orld,▁world,▁▁,▁▁▁▁,12,123"

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN3 = (
    "{%- for message in messages %}\n"
    "    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "    {{- '<|im_start|>assistant\\n' }}\n"
    "    {%- if enable_thinking is defined and enable_thinking is false %}\n"
    "        {{- '<think>\\n\\n</think>\\n\\n' }}\n"
    "    {%- endif %}\n"
    "{%- endif %}"
)
LLAMA3 = (
    "{%- if not date_string is defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- endif %}\n"
    "{{- bos_token }}\n"
    "{%- if messages[0]['role'] == 'system' %}\n"
    "    {%- set system_message = messages[0]['content']|trim %}\n"
    "    {%- set messages = messages[1:] %}\n"
    "{%- else %}\n"
    "    {%- set system_message = '' %}\n"
    "{%- endif %}\n"
    "{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' + system_message + '<|eot_id|>' }}\n"
    "{%- for message in messages %}\n"
    "    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim"
    " + '<|eot_id|>' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n"
    "{%- endif %}\n"
)


def byte_characters() -> list[str]:
    """GPT-2's printable stand-in of every byte, in order of the bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    stand_ins = dict(zip(printable, printable, strict=True)) | {byte: 256 + i for i, byte in enumerate(others)}
    return [chr(stand_ins[byte]) for byte in range(256)]


def bpe_vocabulary(merges: Sequence[str] = MERGES, control: Sequence[str] = (EOS, IM_START, IM_END)) -> dict[str, int]:
    """A byte-level vocabulary: bytes, merged pieces, control tokens, think tags; token -> type."""
    pieces = [*byte_characters(), *(merge.replace(" ", "") for merge in merges)]
    tokens = dict.fromkeys(pieces, int(TokenType.NORMAL)) | dict.fromkeys(control, int(TokenType.CONTROL))
    return tokens | dict.fromkeys((THINK, END_THINK), int(TokenType.USER_DEFINED))


def spm_vocabulary() -> tuple[dict[str, int], list[float]]:
    """A SentencePiece vocabulary as Llama 2's: token -> type, and the scores (minus the rank for pieces)."""
    tokens = {"<unk>": int(TokenType.UNKNOWN), "<s>": int(TokenType.CONTROL), "</s>": int(TokenType.CONTROL)}
    tokens |= {f"<0x{byte:02X}>": int(TokenType.BYTE) for byte in range(256)}
    pieces = _PIECES.split(",")
    letters = [chr(code) for code in range(33, 127)]
    tokens |= dict.fromkeys([*pieces, "▁", *letters, "é"], int(TokenType.NORMAL))
    num_pieces = len(tokens) - 259
    return tokens, [0.0] * 259 + [-float(rank) for rank in range(num_pieces)]


def write_gguf(
    path: Path,
    *,
    architecture: str = "qwen3",
    tied: bool = True,
    vocabulary: str = "bpe",
    pre: str = "qwen2",
    chat_template: str | None = QWEN3,
    hidden_size: int = 64,
    num_layers: int = 2,
    num_heads: int = 4,
    num_kv_heads: int = 2,
    head_dim: int = 16,
    intermediate_size: int = 96,
    context_length: int = 256,
    padding_rows: int = 5,
    rope_freqs: Sequence[float] | None = None,
    weight_type: str = "F32",
    tokens: Mapping[str, int] | None = None,
    merges: Sequence[str] = MERGES,
    metadata: Mapping[str, object] | None = None,
    without: Sequence[str] = (),
    extra_tensors: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
) -> Path:
    """Write a model and return its path.

    `vocabulary` is "bpe" (byte-level, pre-tokenizer `pre`) or "spm"; the embedding has `padding_rows` rows beyond
    the tokens, rounded up to a multiple of 32. `metadata` overrides or adds keys (None removes one), `without`
    leaves tensors out, `weight_type` is of the matrices: F32, F16, BF16, Q8_0, Q4_0.
    """
    keys = _tokenizer_keys(vocabulary, pre, tokens, merges)
    rows = -(-(len(keys["tokenizer.ggml.tokens"]) + padding_rows) // 32) * 32
    keys |= {
        f"{architecture}.{name}": value
        for name, value in {
            "context_length": context_length,
            "embedding_length": hidden_size,
            "block_count": num_layers,
            "feed_forward_length": intermediate_size,
            "attention.head_count": num_heads,
            "attention.head_count_kv": num_kv_heads,
            "attention.key_length": head_dim,
            "attention.value_length": head_dim,
            "attention.layer_norm_rms_epsilon": 1e-6,
            "rope.freq_base": 10000.0,
        }.items()
    }
    keys |= {"tokenizer.chat_template": chat_template, "general.name": "test"} | dict(metadata or {})
    shapes = _shapes(architecture, rows, hidden_size, num_layers, num_heads, num_kv_heads, head_dim, intermediate_size)
    if tied:
        del shapes["output.weight"]
    generator = np.random.default_rng(seed)
    arrays = {name: _weights(generator, name, shape) for name, shape in shapes.items() if name not in without}
    if rope_freqs is not None:
        arrays["rope_freqs.weight"] = np.asarray(rope_freqs, np.float32)
    arrays |= extra_tensors or {}
    _write(path, architecture, keys, arrays, weight_type)
    return path


def llama3_rope_freqs(
    head_dim: int = 16, theta: float = 10000.0, factor: float = 8.0, low: float = 1.0, high: float = 4.0, old: int = 64
) -> list[float]:
    """Llama 3's factors, (head_dim / 2,), as converters write them into rope_freqs.weight."""
    factors = []
    for pair in range(head_dim // 2):
        wavelength = 2 * np.pi * theta ** (2 * pair / head_dim)
        smooth = (old / wavelength - low) / (high - low)
        blended = 1 / ((1 - smooth) / factor + smooth)
        factors.append(1.0 if wavelength < old / high else factor if wavelength > old / low else float(blended))
    return factors


def _tokenizer_keys(
    vocabulary: str, pre: str, tokens: Mapping[str, int] | None, merges: Sequence[str]
) -> dict[str, object]:
    if vocabulary == "spm":
        pieces, scores = spm_vocabulary()
        return {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": list(pieces),
            "tokenizer.ggml.token_type": list(pieces.values()),
            "tokenizer.ggml.scores": scores,
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2,
        }
    types = dict(tokens or bpe_vocabulary(merges))
    names = list(types)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": names,
        "tokenizer.ggml.token_type": list(types.values()),
        "tokenizer.ggml.merges": list(merges),
        "tokenizer.ggml.eos_token_id": names.index(IM_END) if IM_END in names else len(names) - 1,
    }


def _shapes(
    architecture: str, rows: int, hidden: int, layers: int, heads: int, kv_heads: int, head_dim: int, inner: int
) -> dict[str, tuple[int, ...]]:
    query, key = heads * head_dim, kv_heads * head_dim
    layer: dict[str, tuple[int, ...]] = {
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
    if architecture == "qwen2":
        layer |= {"attn_q.bias": (query,), "attn_k.bias": (key,), "attn_v.bias": (key,)}
    if architecture == "gemma3":
        layer |= {"post_attention_norm.weight": (hidden,), "post_ffw_norm.weight": (hidden,)}
    if architecture in ("qwen3", "gemma3"):
        layer |= {"attn_q_norm.weight": (head_dim,), "attn_k_norm.weight": (head_dim,)}
    whole: dict[str, tuple[int, ...]] = {"token_embd.weight": (rows, hidden), "output_norm.weight": (hidden,)}
    whole |= {f"blk.{index}.{name}": shape for index in range(layers) for name, shape in layer.items()}
    return whole | {"output.weight": (rows, hidden)}


def _weights(generator: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Norms near 1, biases near 0, matrices scaled to keep the activations' size."""
    noise = generator.standard_normal(shape)
    if len(shape) == 2:
        return (noise / np.sqrt(shape[1])).astype(np.float32)
    return (0.1 * noise + (0 if name.endswith("bias") else 1)).astype(np.float32)


def _write(
    path: Path, architecture: str, keys: Mapping[str, object], arrays: Mapping[str, np.ndarray], weight_type: str
) -> None:
    writer = GGUFWriter(path, architecture)
    for key, value in keys.items():
        _add(writer, key, value)
    kind = GGMLQuantizationType[weight_type]
    for name, array in arrays.items():
        if array.ndim == 2 and kind != GGMLQuantizationType.F32:
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add(writer: GGUFWriter, key: str, value: object) -> None:
    """Write a key with the type that converters give it; None leaves it out."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str) and value:
        writer.add_key_value(key, value, gguf.GGUFValueType.STRING)
    elif isinstance(value, list | tuple) and value:
        writer.add_array(key, list(value))

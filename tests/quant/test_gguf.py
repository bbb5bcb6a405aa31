"""GGUF files: what a sound one gives, and that a damaged one gives one line."""

import os
import random
import struct
import time
from pathlib import Path

import gguf
import numpy as np
import pytest

from lite.chat import ChatCodec
from lite.errors import LiteError, ModelError
from lite.params import Chat
from lite.quant.gguf import open_gguf
from lite.quant.gguf_config import ARCHITECTURES
from lite.quant.gguf_header import TENSOR_TYPES, parse_header
from tests.gguf_files import llama3_rope_freqs, write_gguf

STRING, ARRAY, UINT32 = 8, 9, 4


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def header(*parts: bytes, version: int = 3, tensors: int = 0, keys: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + b"".join(parts)


def tensor(name: str, shape: tuple[int, ...] = (4,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        open_gguf(path)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1000
    return message


def use_everything(path: Path) -> None:
    """What an engine does with a model file before its first step."""
    with open_gguf(path) as file:
        for name in file.tensors:
            file.tensor(name)
        file.content_hash()
        codec = ChatCodec(file)
        for thinking in (None, False):
            codec.encode_prompt(Chat.ask("hello", thinking=thinking))
        for token in range(file.config.vocab_size):
            codec.token_bytes(token)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tied", [True, False])
def test_reads_dimensions_and_shapes_of_every_architecture(tmp_path: Path, architecture: str, tied: bool) -> None:
    with open_gguf(write_gguf(tmp_path / "m.gguf", architecture=architecture, tied=tied)) as file:
        config = file.config
        assert (config.architecture, config.tied_embeddings) == (architecture, tied)
        assert (config.hidden_size, config.num_layers, config.num_heads, config.num_kv_heads) == (64, 2, 4, 2)
        assert (config.head_dim, config.intermediate_size, config.context_length) == (16, 96, 256)
        assert config.rope_interleaved == (architecture == "llama")
        assert config.rms_norm_eps == pytest.approx(1e-6)
        assert config.rope_factors == ()
        assert ("output.weight" in file.tensors) is not tied
        assert ("blk.1.attn_v.bias" in file.tensors) is (architecture == "qwen2")
        assert ("blk.1.attn_k_norm.weight" in file.tensors) is (architecture in ("qwen3", "gemma3"))
        assert ("blk.1.post_ffw_norm.weight" in file.tensors) is (architecture == "gemma3")
        assert file.tensor("blk.0.attn_k.weight").shape == (32, 64)
        assert file.tensor("blk.0.ffn_down.weight").shape == (64, 96)
        assert file.tensor("token_embd.weight").shape == (config.vocab_size, 64)


@pytest.mark.parametrize(("weight_type", "tolerance"), [("F16", 1e-3), ("BF16", 1e-2), ("Q8_0", 1e-2), ("Q4_0", 0.15)])
def test_dequantised_weights_are_near_the_float32_ones(tmp_path: Path, weight_type: str, tolerance: float) -> None:
    exact = open_gguf(write_gguf(tmp_path / "exact.gguf"))
    coarse = open_gguf(write_gguf(tmp_path / "coarse.gguf", weight_type=weight_type))
    assert coarse.tensors["blk.0.attn_q.weight"].type == weight_type
    for name in exact.tensors:
        near = coarse.tensor(name)
        assert near.dtype == np.float32
        assert near.flags.writeable
        assert near.flags.c_contiguous
        np.testing.assert_allclose(near, exact.tensor(name), atol=tolerance)


def test_a_tensor_outlives_its_file(tmp_path: Path) -> None:
    with open_gguf(write_gguf(tmp_path / "m.gguf")) as file:
        norm = file.tensor("output_norm.weight")
    file.close()
    assert np.isfinite(norm).all()
    assert file.config.num_layers == 2


def test_the_table_of_tensor_types_is_that_of_the_gguf_package() -> None:
    for number, (name, block, num_bytes) in TENSOR_TYPES.items():
        kind = gguf.GGMLQuantizationType(number)
        assert (kind.name, gguf.GGML_QUANT_SIZES[kind]) == (name, (block, num_bytes))
        zeros = np.zeros((2, num_bytes), np.uint8)
        assert gguf.quants.dequantize(zeros, kind).shape == (2, block)


def test_llama_3_scaling_comes_from_the_tensor(tmp_path: Path) -> None:
    factors = llama3_rope_freqs()
    with open_gguf(write_gguf(tmp_path / "m.gguf", architecture="llama", rope_freqs=factors)) as file:
        assert file.config.rope_factors == pytest.approx(factors)
        assert file.config.rope_factors[0] == 1.0
        assert file.config.rope_factors[-1] == 8.0


@pytest.mark.parametrize(
    "keys",
    [
        {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0},
        {"llama.rope.scaling.factor": 4.0},
        {"llama.rope.scale_linear": 4.0},
    ],
)
def test_linear_scaling_is_a_factor_for_every_pair(tmp_path: Path, keys: dict[str, object]) -> None:
    with open_gguf(write_gguf(tmp_path / "m.gguf", architecture="llama", metadata=keys)) as file:
        assert file.config.rope_factors == (4.0,) * 8


def test_the_name_of_the_content_depends_on_the_content_alone(tmp_path: Path) -> None:
    first, second = write_gguf(tmp_path / "a.gguf"), write_gguf(tmp_path / "b.gguf")
    other = write_gguf(tmp_path / "c.gguf", seed=1)
    hashes = [open_gguf(path).content_hash() for path in (first, second, other)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert len(hashes[0]) == 32


def test_a_large_file_is_named_by_samples_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lite.quant.gguf._HASHED_WHOLE", 0)
    path, other = write_gguf(tmp_path / "a.gguf"), write_gguf(tmp_path / "b.gguf", seed=1)
    for file in (path, other):
        os.utime(file, ns=(1, 1))
    before = open_gguf(path).content_hash()
    assert before != open_gguf(other).content_hash()
    assert before == open_gguf(path).content_hash()
    os.utime(path, ns=(2, 2))
    assert before != open_gguf(path).content_hash()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"GGUF", "4 bytes"),
        (b"PK\3\4" + bytes(100), "not a GGUF file"),
        (bytes(1000), "not a GGUF file"),
        (random.Random(0).randbytes(100_000), "not a GGUF file"),
        (b"GGUF" + random.Random(0).randbytes(100_000), "version"),
        (header(version=1), "version 1"),
        (header(version=3 << 24), "big-endian"),
        (header(tensors=2**63), "number of tensors is 9223372036854775808"),
        (header(keys=2**40), "number of metadata keys"),
        (header(struct.pack("<Q", 2**60), keys=1), "length of a metadata key"),
        (header(text("a"), struct.pack("<IQ", STRING, 2**50), keys=1), "length of 'a'"),
        (header(text("a"), struct.pack("<IQ", STRING, 1000), keys=1), "file ends at"),
        (header(text("a"), struct.pack("<I", 77), keys=1), "value type 77"),
        (header(text("a"), struct.pack("<IIQ", ARRAY, UINT32, 2**62), keys=1), "length of the array"),
        (header(text("a"), struct.pack("<IIQ", ARRAY, UINT32, 2**20), keys=1), "file ends at"),
        (header(text("a"), struct.pack("<IIQ", ARRAY, STRING, 2**20), keys=1), "item 0"),
        (header(text("a"), struct.pack("<IIQ", ARRAY, ARRAY, 1), keys=1), "only numbers and strings"),
        (header(text("a"), struct.pack("<II", UINT32, 1), text("a"), struct.pack("<II", UINT32, 1), keys=2), "twice"),
        (header(text("a"), struct.pack("<IQ", STRING, 1), b"\xff", keys=1), "UTF-8"),
        (header(text("general.alignment"), struct.pack("<II", UINT32, 33), keys=1), "power of two"),
        (header(text("general.alignment"), struct.pack("<II", UINT32, 0), keys=1), "power of two"),
        (header(tensor("t", (1,) * 5), tensors=1), "number of dimensions"),
        (header(tensor("t", ()), tensors=1), "at least 1"),
        (header(tensor("t", (0, 4)), tensors=1), "at least 1"),
        (header(tensor("t", (2**40,)), tensors=1), "a dimension"),
        (header(tensor("t", (2**32, 2**32, 2**32)), tensors=1), "incomplete"),
        (header(tensor("t", (4,), kind=99), tensors=1), "type number 99"),
        (header(tensor("t", (33,), kind=8), tensors=1), "no multiple of 32"),
        (header(tensor("t", (4,), offset=7), tensors=1), "no multiple of 32"),
        (header(tensor("t", (4,), offset=2**62), tensors=1), "incomplete"),
        (header(tensor("t"), tensor("t"), bytes(200), tensors=2), "twice"),
        (header(tensor("t"), tensor("u"), bytes(200), tensors=2), "overlap"),
        (header(), "architecture None"),
    ],
)
def test_refuses_what_is_no_sound_file_in_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    message = refusal(path)
    assert words in message
    assert "bad.gguf" in message


def test_refuses_what_cannot_be_read(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "nothing.gguf")
    assert "folder" in refusal(tmp_path)
    assert "not a regular file" in refusal(Path(os.devnull))
    assert "null" in refusal(Path("a\0b"))
    assert "\\n" in refusal(tmp_path / "a\nb")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="only POSIX has named pipes")
def test_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path / "pipe")


def test_refuses_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = write_gguf(tmp_path / "m.gguf")
    monkeypatch.setattr("lite.quant.gguf.open", refuse, raising=False)
    assert "Permission denied" in refusal(path)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"general.architecture": "mamba"}, "'mamba' is not supported, only llama, qwen2, qwen3"),
        ({"qwen3.embedding_length": None}, "qwen3.embedding_length is missing"),
        ({"qwen3.embedding_length": 0}, "from 1 to"),
        ({"qwen3.embedding_length": 2**31}, "from 1 to"),
        ({"qwen3.block_count": 10**9}, "from 1 to 1024"),
        ({"qwen3.block_count": 3}, "blk.2.attn_k.weight"),
        ({"qwen3.block_count": 1}, "not read in qwen3 models"),
        ({"qwen3.attention.head_count": "many"}, "whole number"),
        ({"qwen3.attention.head_count": [4, 4]}, "whole number"),
        ({"qwen3.attention.head_count_kv": 3}, "evenly"),
        ({"qwen3.attention.key_length": 15}, "must be even"),
        ({"qwen3.attention.key_length": None, "qwen3.attention.head_count": 6}, "cannot be divided"),
        ({"qwen3.attention.value_length": 8}, "only the size of the heads"),
        ({"qwen3.rope.dimension_count": 8}, "only the size of the heads"),
        ({"qwen3.feed_forward_length": 64}, "has shape"),
        ({"qwen3.context_length": None}, "context_length is missing"),
        ({"qwen3.attention.layer_norm_rms_epsilon": float("nan")}, "must be a number"),
        ({"qwen3.rope.freq_base": float("inf")}, "must be a number"),
        ({"qwen3.rope.scaling.type": "yarn", "qwen3.rope.scaling.factor": 4.0}, "'yarn' is not supported"),
        ({"qwen3.rope.scaling.type": "longrope"}, "'longrope' is not supported"),
        ({"qwen3.rope.scaling.factor": 1e-30}, "rope factors"),
        ({"qwen3.expert_count": 8}, "mixture-of-experts"),
        ({"split.count": 3}, "one part of a split model"),
    ],
)
def test_refuses_metadata_that_make_no_model(tmp_path: Path, keys: dict[str, object], words: str) -> None:
    assert words in refusal(write_gguf(tmp_path / "m.gguf", metadata=keys))


def test_refuses_missing_misshapen_and_unknown_tensors(tmp_path: Path) -> None:
    missing = write_gguf(tmp_path / "a.gguf", without=["blk.0.ffn_up.weight", "blk.1.attn_norm.weight"])
    assert "'blk.0.ffn_up.weight', 'blk.1.attn_norm.weight' are missing" in refusal(missing)
    assert "token_embd.weight is missing" in refusal(write_gguf(tmp_path / "b.gguf", without=["token_embd.weight"]))
    extra = {"blk.0.attn_q.bias": np.zeros(64, np.float32)}
    assert "not read in qwen3" in refusal(write_gguf(tmp_path / "c.gguf", extra_tensors=extra))
    short = write_gguf(tmp_path / "d.gguf", architecture="llama", rope_freqs=[1.0] * 4)
    assert "rope_freqs.weight" in refusal(short)


def test_refuses_weights_that_are_not_finite(tmp_path: Path) -> None:
    bad = {"output_norm.weight": np.full(64, np.nan, np.float32)}
    with open_gguf(write_gguf(tmp_path / "m.gguf", extra_tensors=bad)) as file, pytest.raises(ModelError, match="NaN"):
        file.tensor("output_norm.weight")


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "m.gguf").read_bytes()
    end_of_header = parse_header(whole).data_start
    cuts = [*range(0, end_of_header, end_of_header // 20), *range(end_of_header, len(whole), len(whole) // 10)]
    for cut in [*cuts, len(whole) - 1]:
        path = tmp_path / f"{cut}.gguf"
        path.write_bytes(whole[:cut])
        refusal(path)


@pytest.mark.parametrize("vocabulary", ["bpe", "spm"])
def test_flipped_bytes_load_or_are_refused(tmp_path: Path, vocabulary: str) -> None:
    architecture = "qwen3" if vocabulary == "bpe" else "llama"
    options = {"architecture": architecture, "vocabulary": vocabulary, "weight_type": "Q8_0", "num_layers": 1}
    whole = write_gguf(tmp_path / "m.gguf", **options).read_bytes()
    end_of_header, generator = parse_header(whole).data_start, random.Random(0)
    path, slowest = tmp_path / "flipped.gguf", 0.0
    for trial in range(300):
        damaged = bytearray(whole)
        for _ in range(generator.randint(1, 3)):
            position = generator.randrange(len(whole) if trial % 10 == 0 else end_of_header)
            damaged[position] = generator.randrange(256)
        path.write_bytes(damaged)
        started = time.process_time()
        try:
            use_everything(path)
        except LiteError as error:
            assert "\n" not in str(error)  # noqa: PT017 - any other error fails the test
        slowest = max(slowest, time.process_time() - started)
    assert slowest < 2.0

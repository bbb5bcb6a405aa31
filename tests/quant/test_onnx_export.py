"""An exported ONNX folder is the model, for anybody who feeds it as the layout says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer as Library

from lite.backends.cpu.onnx import OnnxBackend
from lite.errors import UsageError
from lite.quant.gguf import GGUFFile, open_gguf
from lite.quant.onnx import Format
from lite.quant.quantize import ONNX_FORMATS, QuantizeResult, quantize
from lite.tokens import Tokenizer
from tests import reference
from tests.gguf_files import QWEN3, llama3_rope_freqs, write_gguf
from tests.quant.hf_folders import config_of, write_folder

WORDS = np.random.default_rng(0).integers(0, 300, 60).tolist()
WINDOWS = {"gemma3.attention.sliding_window": 7, "gemma3.attention.sliding_window_pattern": 2}
MODELS: dict[str, dict[str, Any]] = {
    "llama": {"architecture": "llama", "tied": False, "rope_freqs": llama3_rope_freqs(old=8)},
    "qwen2": {"architecture": "qwen2"},
    "qwen3": {"architecture": "qwen3", "head_dim": 12},
    "gemma3": {"architecture": "gemma3", "metadata": WINDOWS},
}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITE_CACHE_DIR", str(tmp_path / "cache"))


def exported(folder: Path, to: str, head_bits: int | None = None, **model: Any) -> tuple[GGUFFile, QuantizeResult]:
    file = open_gguf(write_gguf(folder / "m.gguf", **model))
    return file, quantize(file.path, folder / "onnx", to=to, head_bits=head_bits)


class Fed:
    """A graph, and the cache that it has given back."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
        self.names = [entry.name for entry in self.session.get_inputs() if entry.name.startswith("past")]
        shapes = [entry.shape for entry in self.session.get_inputs() if entry.name.startswith("past")]
        self.past = [np.empty((rows, shape[1], 0, shape[3]), np.float32) for shape in shapes]

    def __call__(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        inputs = {"input_ids": ids, "attention_mask": mask, **dict(zip(self.names, self.past, strict=True))}
        logits, *self.past = self.session.run(None, inputs)
        found: NDArray[np.float32] = logits
        return found


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_the_models_at_once_and_one_by_one(tmp_path: Path, name: str) -> None:
    file, result = exported(tmp_path, "onnx-f32", **MODELS[name])
    fed, expected = Fed(result.path, 1), reference.logits(file, WORDS[:40])
    ids = np.array([WORDS[:40]])
    np.testing.assert_allclose(fed(ids[:, :30], np.ones((1, 30), np.int64))[0], expected[:30], atol=1e-4)
    for place in range(30, 40):
        logits = fed(ids[:, place : place + 1], np.ones((1, place + 1), np.int64))
        np.testing.assert_allclose(logits[0, 0], expected[place], atol=1e-4)


def test_rows_of_different_lengths_are_told_apart_by_the_mask(tmp_path: Path) -> None:
    file, result = exported(tmp_path, "onnx-f32")
    ids = np.array([WORDS[:20], [*WORDS[20:33], *[0] * 7]])
    mask = np.array([[1] * 20, [1] * 13 + [0] * 7])
    logits = Fed(result.path, 2)(ids, mask)
    np.testing.assert_allclose(logits[0], reference.logits(file, WORDS[:20]), atol=1e-4)
    np.testing.assert_allclose(logits[1, :13], reference.logits(file, WORDS[20:33]), atol=1e-4)


@pytest.mark.parametrize("to", ["int8-row", "onnx-q8", "onnx-q4"])
def test_numbers_are_those_of_our_own_engine(tmp_path: Path, to: str) -> None:
    file, result = exported(tmp_path, to, tied=False)
    weight_format: Format = ONNX_FORMATS[to]  # type: ignore[assignment]
    ours = OnnxBackend(file, format=weight_format, num_slots=1).write(0, 0, WORDS, scored=True)
    assert ours is not None
    np.testing.assert_array_equal(Fed(result.path, 1)(np.array([WORDS]), np.ones((1, 60), np.int64))[0], ours)


@pytest.mark.parametrize("tied", [True, False])
def test_a_head_of_four_bits_is_smaller_and_further_off(tmp_path: Path, tied: bool) -> None:
    file, eight = exported(tmp_path, "onnx-q4", tied=tied)
    four = quantize(file.path, tmp_path / "four", to="onnx-q4", head_bits=4)
    assert {tensor.name: tensor.type for tensor in four.tensors}["token_embd.weight"] == "q4"
    assert four.num_bytes < eight.num_bytes
    exact = reference.logits(file, WORDS)
    mask = np.ones((1, 60), np.int64)
    errors = [np.abs(Fed(made.path, 1)(np.array([WORDS]), mask)[0] - exact).mean() for made in (eight, four)]
    assert errors[0] < errors[1] < 1


def test_what_is_told_of_each_tensor_is_what_lies_in_the_files(tmp_path: Path) -> None:
    file, result = exported(tmp_path, "onnx-q4", weight_type="Q8_0")
    types = {tensor.name: (tensor.source_type, tensor.type, tensor.shape) for tensor in result.tensors}
    assert types["blk.0.attn_qkv.weight"] == ("Q8_0", "q4", (128, 64))
    assert types["token_embd.weight"] == ("Q8_0", "q8", (file.config.vocab_size, 64))
    assert types["blk.1.ffn_norm.weight"] == ("F32", "F32", (64,))
    assert result.requantized
    assert result.num_bytes <= sum(path.stat().st_size for path in result.path.iterdir())


@pytest.mark.parametrize("vocabulary", ["bpe", "spm"])
def test_the_tokenizers_file_gives_the_same_ids(tmp_path: Path, vocabulary: str) -> None:
    _, result = exported(tmp_path, "onnx-q4", vocabulary=vocabulary, architecture="llama", chat_template=QWEN3)
    library = Library.from_file(str(result.path / "tokenizer.json"))
    tokenizer = Tokenizer.from_gguf(open_gguf(tmp_path / "m.gguf"))
    for text in ("hello world, 123", "  two\n\nlines é 東京", "the answer is 12"):
        ids = tokenizer.encode(text, start=True)
        assert library.encode(text).ids == ids
        assert library.decode(ids, skip_special_tokens=True) == text
    settings = json.loads((result.path / "tokenizer_config.json").read_text())
    assert settings["chat_template"] == QWEN3


def test_the_text_files_of_a_folder_are_copied(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", config_of("qwen3"))
    result = quantize(folder, tmp_path / "onnx", to="int8-row")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (result.path / name).read_bytes() == (folder / name).read_bytes()


def test_a_folder_that_is_there_is_kept_unless_it_is_an_old_export(tmp_path: Path) -> None:
    file, result = exported(tmp_path, "onnx-q8")
    with pytest.raises(UsageError, match="force"):
        quantize(file.path, result.path, to="onnx-q8")
    quantize(file.path, result.path, to="onnx-q4", force=True)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "letter.txt").write_text("mine")
    with pytest.raises(UsageError, match="there already"):
        quantize(file.path, precious, to="onnx-q4", force=True)
    assert [path.name for path in precious.iterdir()] == ["letter.txt"]


def test_options_of_gguf_formats_are_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    options: list[dict[str, Any]] = [{"pure": True}, {"tensors": {"attn": "Q8_0"}}, {"output_type": "Q8_0"}]
    for option in options:
        with pytest.raises(UsageError, match="GGUF"):
            quantize(path, tmp_path / "onnx", to="onnx-q4", **option)
    for to, bits in (("int8-row", 4), ("onnx-q4", 5), ("Q4_0", 8)):
        with pytest.raises(UsageError, match="head"):
            quantize(path, tmp_path / "onnx", to=to, head_bits=bits)

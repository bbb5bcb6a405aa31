"""Importance matrices are what the model's activations are, and their files are llama.cpp's."""

import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from lite.errors import ModelError, UsageError
from lite.quant.activations import measure
from lite.quant.gguf import GGUFFile, open_gguf
from lite.quant.imatrix import ImportanceMatrix, is_imatrix, read_imatrix, write_imatrix
from lite.quant.quantize import load_imatrix
from lite.tokens import Tokenizer
from tests import reference
from tests.gguf_files import llama3_rope_freqs, write_gguf

TEXT = "hello world, the answer is 12 and 123. " * 9
WINDOWS = {"gemma3.attention.sliding_window": 7, "gemma3.attention.sliding_window_pattern": 2}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITE_CACHE_DIR", str(tmp_path / "cache"))


def squares(file: GGUFFile, ids: list[int], monkeypatch: pytest.MonkeyPatch) -> dict[str, NDArray[np.float64]]:
    """Sums of squares of every product's inputs, as the float64 reference multiplies: in the order of its calls."""
    seen: list[NDArray[np.float64]] = []

    def product(rows: NDArray[np.float64], matrix: NDArray[np.float64], is_head: bool) -> NDArray[np.float64]:
        seen.append((rows**2).sum(axis=0))
        return rows @ matrix.T

    monkeypatch.setattr(reference, "dequantised", lambda matrix, bits: matrix)
    reference.logits(file, ids, product)
    parts = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    names = [f"blk.{layer}.{part}.weight" for layer in range(file.config.num_layers) for part in parts]
    names.append("token_embd.weight" if file.config.tied_embeddings else "output.weight")
    return dict(zip(names, seen, strict=True))


@pytest.mark.parametrize(
    "model",
    [
        {"architecture": "llama", "tied": False, "rope_freqs": llama3_rope_freqs(old=8)},
        {"architecture": "qwen3", "head_dim": 12},
        {"architecture": "gemma3", "metadata": WINDOWS},
    ],
    ids=["llama", "padded-heads", "gemma3"],
)
def test_means_are_those_of_the_models_activations(
    tmp_path: Path, model: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = open_gguf(write_gguf(tmp_path / "m.gguf", context_length=48, **model))  # type: ignore[arg-type]
    ids = Tokenizer.from_gguf(file).encode(TEXT, start=True)
    assert len(ids) > 96, "the text is cut twice at least"
    totals: dict[str, NDArray[np.float64]] = {}
    for start in range(0, len(ids), 48):
        for name, sums in squares(file, ids[start : start + 48], monkeypatch).items():
            totals[name] = totals.get(name, 0) + sums
    matrix = measure(file, TEXT, dataset="text")
    assert (matrix.num_tokens, matrix.chunk_tokens) == (len(ids), 48)
    assert matrix.means.keys() == totals.keys()
    for name, means in matrix.means.items():
        np.testing.assert_allclose(means, totals[name] / len(ids), rtol=1e-3, atol=1e-6)


def test_a_file_holds_what_was_measured_in_llama_cpps_layout(tmp_path: Path) -> None:
    matrix = measured()
    path = tmp_path / "i.gguf"
    write_imatrix(path, matrix)
    reader = gguf.GGUFReader(path)
    assert reader.fields["general.type"].contents() == "imatrix"
    assert reader.fields["imatrix.datasets"].contents() == ["wiki"]
    assert reader.fields["imatrix.chunk_count"].contents() == 3
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert tensors["blk.0.ffn_up.weight.in_sum2"].shape.tolist() == [5, 1]
    assert tensors["blk.0.ffn_up.weight.counts"].data.tolist() == [[1200.0]]
    assert is_imatrix(path)
    same(read_imatrix(path), matrix)


def test_the_older_kind_of_file_is_read_too(tmp_path: Path) -> None:
    matrix, calls = measured(), 3
    data = struct.pack("<i", len(matrix.means))
    for name, means in matrix.means.items():
        data += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", calls, len(means))
        data += (means * calls).tobytes()
    path = tmp_path / "i.dat"
    path.write_bytes(data + struct.pack("<ii", calls, 4) + b"wiki")
    assert is_imatrix(path)
    found = read_imatrix(path)
    assert found.dataset == "wiki"
    assert found.means.keys() == matrix.means.keys()
    for name, means in matrix.means.items():
        np.testing.assert_allclose(found.means[name], means, rtol=1e-6)
    path.write_bytes(data)
    assert read_imatrix(path).dataset == ""


@pytest.mark.parametrize("write", [lambda path: write_imatrix(path, measured()), lambda path: write_binary(path)])
def test_every_cut_of_a_file_is_one_line(tmp_path: Path, write: Callable[[Path], None]) -> None:
    path = tmp_path / "i"
    write(path)
    whole = path.read_bytes()
    for length in range(1, len(whole) - 40, 7):  # the last bytes may be padding
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match="no importance matrix") as error:
            read_imatrix(path)
        assert "\n" not in str(error.value)


def test_squares_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    for bad in (np.nan, np.inf, -1.0):
        write_imatrix(tmp_path / "i.gguf", measured(bad))
        with pytest.raises(ModelError, match="finite"):
            read_imatrix(tmp_path / "i.gguf")


def test_a_model_is_no_importance_matrix(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is it a model"):
        read_imatrix(write_gguf(tmp_path / "m.gguf"))


def test_a_text_must_be_text_and_long_enough(tmp_path: Path) -> None:
    file = open_gguf(write_gguf(tmp_path / "m.gguf"))
    path = tmp_path / "text"
    path.write_text("hello")
    with pytest.raises(UsageError, match="fewer than 64"):
        load_imatrix(file, path)
    path.write_bytes("é".encode("latin-1") * 90)
    with pytest.raises(UsageError, match="UTF-8"):
        load_imatrix(file, path)
    with pytest.raises(UsageError, match="cannot read"):
        load_imatrix(file, tmp_path / "missing")


def measured(first: float = 0.5) -> ImportanceMatrix:
    means = {
        "blk.0.ffn_up.weight": np.array([first, 1, 2, 3, 4], np.float32),
        "blk.0.ffn_down.weight": np.array([7, 8], np.float32),
    }
    return ImportanceMatrix(means=means, num_tokens=1200, chunk_tokens=512, dataset="wiki")


def write_binary(path: Path) -> None:
    name, values = b"blk.0.ffn_up.weight", np.ones(20, np.float32)
    path.write_bytes(struct.pack("<ii", 1, len(name)) + name + struct.pack("<ii", 1, 20) + values.tobytes())


def same(one: ImportanceMatrix, other: ImportanceMatrix) -> None:
    assert (one.num_tokens, one.chunk_tokens, one.dataset) == (other.num_tokens, other.chunk_tokens, other.dataset)
    assert one.means.keys() == other.means.keys()
    for name, means in one.means.items():
        np.testing.assert_allclose(means, other.means[name], rtol=1e-6)

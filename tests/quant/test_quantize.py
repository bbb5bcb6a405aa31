"""Quantized files are what was asked for, what each tensor became is told, and nothing torn is left behind."""

import os
from collections import namedtuple
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from lite.config import embedded_model
from lite.errors import BackendError, MissingExtra, ModelError, UsageError
from lite.quant.gguf import open_gguf
from lite.quant.gguf_formats import GGUF_FORMATS
from lite.quant.imatrix import ImportanceMatrix
from lite.quant.quantize import FORMATS, QuantizeResult, quantize, target_name
from lite.tokens import Tokenizer
from tests.gguf_files import write_gguf
from tests.quant.hf_folders import config_of, write_folder

QUESTION = "Tom has 3 boxes of 12 pens and gives away 7. How many are left? 3*12=36.\n36-7=29.\nThe answer is 29."
SIZES: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 256, "head_dim": 64, "num_layers": 2}
needs_llama = pytest.mark.skipif(find_spec("llama_cpp") is None, reason="the extra 'llama' is not installed")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """float32, with rows of 256."""
    return write_gguf(tmp_path / "m-F32.gguf", **SIZES)


@pytest.fixture
def narrow(tmp_path: Path) -> Path:
    """float32, with rows of 64 and 96."""
    return write_gguf(tmp_path / "narrow.gguf", tied=False)


def types(result: QuantizeResult) -> dict[str, str]:
    """As another reader finds them in the file."""
    return {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(result.path).tensors}


def even(path: Path) -> ImportanceMatrix:
    """One that finds every column of every matrix alike."""
    with open_gguf(path) as file:
        matrices = {name: info.shape[-1] for name, info in file.tensors.items() if len(info.shape) == 2}
    means = {name: np.ones(columns, np.float32) for name, columns in matrices.items()}
    return ImportanceMatrix(means=means, num_tokens=100, chunk_tokens=100, dataset="even")


# What is written


@needs_llama
def test_the_embedded_model_runs_in_eight_formats_and_each_step_down_is_smaller(tmp_path: Path) -> None:
    from lite.backends.cpu.llama_cpp import LlamaBackend

    def logits(path: Path) -> NDArray[np.float32]:
        with open_gguf(path) as file:
            ids = Tokenizer.from_gguf(file).encode(QUESTION)
            found = LlamaBackend(file, num_slots=1, context_length=256).write(0, 0, ids, scored=True)
        assert found is not None
        return found.copy()

    exact = logits(embedded_model())
    sizes, agreements = [], []
    for to in ("Q8_0", "Q6_K", "Q5_K_M", "Q5_0", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K"):
        result = quantize(embedded_model(), tmp_path / f"{to}.gguf", to=to)
        assert result.requantized
        sizes.append(result.num_bytes)
        agreements.append(float((logits(result.path).argmax(-1) == exact.argmax(-1)).mean()))
    assert sizes == sorted(sizes, reverse=True)
    assert agreements[0] == 1.0
    assert min(agreements[:6]) > 0.8
    assert min(agreements) > 0.6


@needs_llama
@pytest.mark.parametrize("to", ["BF16", "IQ4_NL", "TQ2_0"])
def test_what_is_told_is_what_another_reader_finds(model: Path, tmp_path: Path, to: str) -> None:
    result = quantize(model, tmp_path / "out.gguf", to=to.lower())
    assert result.format == to
    assert not result.requantized
    assert not result.fallbacks
    assert {tensor.name: tensor.type for tensor in result.tensors} == types(result)
    assert types(result)["blk.0.attn_q.weight"] == GGUF_FORMATS[to].base
    assert {tensor.source_type for tensor in result.tensors} == {"F32"}
    assert 0 < result.path.stat().st_size - result.num_bytes < 40_000


@needs_llama
def test_float32_gives_the_weights_back(tmp_path: Path) -> None:
    result = quantize(embedded_model(), tmp_path / "f.gguf", to="F32")
    with open_gguf(embedded_model()) as before, open_gguf(result.path) as after:
        for name in ("token_embd.weight", "blk.3.ffn_down.weight"):
            np.testing.assert_array_equal(before.tensor(name), after.tensor(name))


@needs_llama
def test_single_tensors_get_their_own_types_and_the_first_match_counts(model: Path, tmp_path: Path) -> None:
    wishes = {r"blk\.0\.attn_v": "Q8_0", "attn_v": "q6_k", "ffn_.*": "F16"}
    found = types(quantize(model, tmp_path / "o.gguf", to="Q4_0", tensors=wishes))
    assert found["blk.0.attn_v.weight"] == "Q8_0"
    assert found["blk.1.attn_v.weight"] == "Q6_K"
    assert found["blk.0.ffn_down.weight"] == "F16"
    assert found["blk.0.attn_q.weight"] == "Q4_0"
    assert found["blk.0.ffn_norm.weight"] == "F32"


@needs_llama
def test_embedding_and_head_have_types_of_their_own_and_the_rest_is_a_mix(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", tied=False, **SIZES)
    result = quantize(path, tmp_path / "o.gguf", to="Q4_K_M", output_type="Q8_0", token_embedding_type="Q5_K")
    assert types(result)["output.weight"] == "Q8_0"
    assert types(result)["token_embd.weight"] == "Q5_K"
    assert {"Q4_K", "Q6_K"} <= {kind for name, kind in types(result).items() if name.startswith("blk")}


@needs_llama
def test_pure_is_one_type_for_every_matrix(model: Path, tmp_path: Path) -> None:
    pure = quantize(model, tmp_path / "pure.gguf", to="Q4_K_M", pure=True)
    assert {tensor.type for tensor in pure.tensors if len(tensor.shape) == 2} == {"Q4_K"}


@needs_llama
def test_every_fallback_is_named_with_the_type_that_was_denied(narrow: Path, tmp_path: Path) -> None:
    result = quantize(narrow, tmp_path / "o.gguf", to="Q4_K_M")
    denied = {tensor.name: (tensor.denied_type, tensor.type) for tensor in result.fallbacks}
    matrices = {tensor.name for tensor in result.tensors if len(tensor.shape) == 2}
    assert denied.keys() == matrices, "no row of this model is a multiple of 256"
    assert denied["blk.0.attn_q.weight"] == ("Q4_K", "Q5_0")
    assert denied["blk.1.ffn_down.weight"] == ("Q6_K", "Q8_0")
    assert denied["output.weight"] == ("Q4_K", "Q8_0")
    assert not quantize(narrow, tmp_path / "p.gguf", to="Q8_0").fallbacks


@needs_llama
def test_rows_that_suit_no_block_stay_half_precision(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", intermediate_size=100)
    result = quantize(path, tmp_path / "o.gguf", to="Q4_0")
    assert types(result)["blk.0.ffn_down.weight"] == "F16"
    assert "blk.0.ffn_down.weight" in {tensor.name for tensor in result.fallbacks}


# Importance


@needs_llama
def test_columns_that_matter_lose_less(model: Path, tmp_path: Path) -> None:
    matrix = even(model)
    matrix.means["blk.0.ffn_up.weight"][::4] = 1000
    with open_gguf(model) as file:
        exact = file.tensor("blk.0.ffn_up.weight")

    def error(importance: ImportanceMatrix) -> float:
        made = quantize(model, tmp_path / "o.gguf", to="Q2_K_S", imatrix=importance, force=True)
        with open_gguf(made.path) as file:
            return float(((file.tensor("blk.0.ffn_up.weight") - exact)[:, ::4] ** 2).mean())

    assert error(matrix) < 0.5 * error(even(model))


@pytest.mark.parametrize("to", [name for name, entry in GGUF_FORMATS.items() if entry.needs_imatrix])
def test_formats_that_need_one_say_so(model: Path, tmp_path: Path, to: str) -> None:
    with pytest.raises(UsageError, match=f"{to} needs an importance matrix"):
        quantize(model, tmp_path / "o.gguf", to=to)


def test_single_types_that_need_one_say_so_too(model: Path, tmp_path: Path) -> None:
    options: Sequence[dict[str, Any]] = ({"tensors": {"attn_v": "IQ2_S"}}, {"output_type": "IQ1_S"})
    for option in options:
        with pytest.raises(UsageError, match="needs an importance matrix"):
            quantize(model, tmp_path / "o.gguf", to="Q4_0", **option)


def test_a_matrix_that_was_not_measured_cannot_be_of_a_type_that_needs_it(model: Path, tmp_path: Path) -> None:
    matrix = even(model)
    del matrix.means["token_embd.weight"]  # type: ignore[attr-defined]
    options: Sequence[dict[str, Any]] = ({"pure": True}, {"token_embedding_type": "IQ1_S"})
    for option in options:
        with pytest.raises(UsageError, match=r"token_embd\.weight cannot be"):
            quantize(model, tmp_path / "o.gguf", to="IQ2_XXS", imatrix=matrix, **option)


def test_another_models_measurements_are_refused(model: Path, narrow: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="of another model"):
        quantize(model, tmp_path / "o.gguf", to="Q4_0", imatrix=even(narrow))
    strange = ImportanceMatrix(means={"x": np.ones(3, np.float32)}, num_tokens=1, chunk_tokens=1, dataset="")
    with pytest.raises(UsageError, match="none of this model"):
        quantize(model, tmp_path / "o.gguf", to="Q4_0", imatrix=strange)


# Refused, and nothing left


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"to": "Q4_K_X"}, "did you mean 'Q4_K_S'|did you mean 'Q4_K_M'"),
        ({"to": "gptq"}, "there is F32"),
        ({"to": "Q4_0", "tensors": {"(": "Q8_0"}}, "no regular expression"),
        ({"to": "Q4_0", "tensors": {"experts": "Q8_0"}}, "matches no matrix"),
        ({"to": "Q4_0", "tensors": {"attn_norm": "Q8_0"}}, "matches no matrix"),
        ({"to": "Q4_0", "tensors": {"attn_q": "Q9"}}, "'Q9'"),
        ({"to": "F16", "tensors": {"attn_q": "Q8_0"}}, "not with F16"),
        ({"to": "Q4_0", "output_type": "Q6_K"}, "multiple of 256"),
        ({"to": "Q4_0", "token_embedding_type": "TQ1_0"}, "multiple of 256"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(
    narrow: Path, tmp_path: Path, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError, match=named) as error:
        quantize(narrow, tmp_path / "o.gguf", **options)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["narrow.gguf"]


@needs_llama
def test_a_target_is_neither_replaced_unasked_nor_the_source(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "o.gguf"
    target.write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        quantize(model, target, to="Q4_0")
    with pytest.raises(UsageError, match="over itself"):
        quantize(model, model, to="Q4_0", force=True)
    with pytest.raises(UsageError, match="a folder"):
        quantize(model, tmp_path, to="Q4_0", force=True)
    with pytest.raises(UsageError, match="is not there"):
        quantize(model, tmp_path / "nowhere" / "o.gguf", to="Q4_0")
    assert target.read_text() == "mine"


@needs_llama
def test_what_is_no_regular_file_is_not_replaced(model: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "o.gguf")
    with pytest.raises(UsageError, match="no regular file"):
        quantize(model, tmp_path / "o.gguf", to="Q8_0", force=True)
    assert (tmp_path / "o.gguf").is_fifo()


@pytest.mark.parametrize("to", ["Q8_0", "onnx-q8"])
def test_a_hugging_face_folder_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str) -> None:
    monkeypatch.setenv("LITE_CACHE_DIR", str(tmp_path / "cache"))
    folder = write_folder(tmp_path / "model", config_of("qwen3"))
    (folder / "model.onnx").touch()
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(UsageError, match="over itself"):
        quantize(folder, folder / "model.safetensors", to=to, force=True)
    with pytest.raises(UsageError):
        quantize(folder, folder, to=to, force=True)
    assert (folder / "model.safetensors").read_bytes() == before


def test_a_folder_that_holds_the_source_is_not_replaced(model: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    with pytest.raises(UsageError, match="over itself"):
        quantize(model, tmp_path, to="onnx-q8", force=True)
    assert model.exists()


@needs_llama
def test_a_full_disk_is_told_before_anything_is_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(100, 90, 10))
    with pytest.raises(UsageError, match="MiB free"):
        quantize(model, tmp_path / "o.gguf", to="Q4_0")


def test_a_damaged_source_is_a_model_error(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(embedded_model().read_bytes()[:100_000])
    with pytest.raises(ModelError):
        quantize(tmp_path / "m.gguf", tmp_path / "o.gguf", to="Q4_0")


@pytest.mark.parametrize("how", ["dies", "fails", "lies"])
def test_when_llama_cpp_does_not_come_back_it_is_one_line_and_nothing_is_left(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("lite.quant.gguf_quantize._WORKER", "tests.quant.worker")
    monkeypatch.setattr("lite.quant.gguf_quantize.find_spec", lambda name: name)
    monkeypatch.setenv("TESTED_WORKER", how)
    said = {"dies": r"signal 6.*GGML_ASSERT", "fails": "the disk is full", "lies": "damaged"}[how]
    with pytest.raises(BackendError, match=said) as error:
        quantize(model, tmp_path / "o.gguf", to="Q4_0")
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == [model.name]


def test_without_llama_cpp_the_extra_is_named(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lite.quant.gguf_quantize.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="llama"):
        quantize(model, tmp_path / "o.gguf", to="Q4_0")


@needs_llama
def test_a_name_that_is_no_text_is_no_hindrance(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ümläut and space"
    folder.mkdir()
    assert quantize(model, folder / "o 1.gguf", to="Q8_0").path.exists()
    assert sorted(os.listdir(folder)) == ["o 1.gguf"]


def test_a_result_is_named_for_its_format() -> None:
    names = {
        ("m-F16.gguf", "q4_k_m"): "m-Q4_K_M.gguf",
        ("Qwen3-0.6B", "Q8_0"): "Qwen3-0.6B-Q8_0.gguf",
        ("m.gguf", "int8-row"): "m-int8-row",
    }
    for (source, to), expected in names.items():
        assert target_name(Path(source), to) == expected


def test_every_format_is_listed_once_and_all_are_llama_cpps_own() -> None:
    assert len(set(FORMATS)) == len(FORMATS)
    llama = pytest.importorskip("llama_cpp.llama_cpp", reason="the extra 'llama' is not installed")
    for name, entry in GGUF_FORMATS.items():
        constant = "LLAMA_FTYPE_ALL_F32" if name == "F32" else f"LLAMA_FTYPE_MOSTLY_{name}"
        assert getattr(llama, constant) == entry.number

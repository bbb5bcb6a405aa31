"""`lite quantize` and `lite convert`: what they tell, what they refuse, and that their results run."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from lite.quant.quantize import FORMATS
from tests.cli.conftest import Lite
from tests.quant.hf_folders import config_of, write_folder

needs_llama = pytest.mark.skipif(find_spec("llama_cpp") is None, reason="the extra 'llama' is not installed")
TEXT = "hello world, the answer is 12 and 123. " * 9


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@needs_llama
def test_it_tells_what_each_tensor_became_and_the_result_runs(lite: Lite) -> None:
    page = lite("quantize", "small", "--to", "q4_k_m")
    assert page.code == 0, page.err
    assert "fallback to Q5_0: rows of 64 do not suit Q4_K (blk.0.attn_k.weight, " in page.out
    assert "small-Q4_K_M.gguf" in page.out
    assert "quantized already" not in page.out
    assert lite("run", "-m", "small-Q4_K_M.gguf", "-n", "4", "--samples", "2", "hello").code == 0


@needs_llama
def test_measurements_are_kept_and_give_the_same_file_again(lite: Lite, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    keep = ("--imatrix", "text.txt", "--save-imatrix", "i.gguf")
    told = json.loads(lite("quantize", "small", "--to", "IQ4_NL", "-o", "a.gguf", "--json", *keep).out)
    assert (told["path"], told["format"], told["requantized"]) == ("a.gguf", "IQ4_NL", False)
    assert {tensor["type"] for tensor in told["tensors"]} == {"IQ4_NL", "Q8_0", "F32"}
    assert lite("quantize", "small", "--to", "IQ4_NL", "-o", "b.gguf", "--imatrix", "i.gguf").code == 0
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


def test_an_onnx_folder_is_made_and_runs(lite: Lite) -> None:
    page = lite("quantize", "small", "--to", "onnx-q4", "--head-bits", "4")
    assert page.code == 0, page.err
    assert "q4" in page.out
    ran = lite("run", "-m", "small-onnx-q4", "-n", "4", "--samples", "2", "hello")
    assert ran.code == 0, ran.err


def test_a_hugging_face_folder_is_converted_and_runs_as_it_is(lite: Lite, tmp_path: Path) -> None:
    write_folder(tmp_path / "Tiny-0.6B", config_of("qwen3"))
    done = lite("convert", "Tiny-0.6B", "--type", "q8_0")
    assert done.code == 0, done.err
    assert done.out.startswith("Tiny-0.6B-Q8_0.gguf: ")
    assert (tmp_path / "Tiny-0.6B-Q8_0.gguf").exists()
    assert lite("run", "-m", "Tiny-0.6B", "-n", "4", "--samples", "2", "hello").code == 0
    assert json.loads(lite("show", "Tiny-0.6B", "--json").out)["architecture"] == "qwen3"


def test_a_folders_own_weights_are_not_written_over(lite: Lite, tmp_path: Path) -> None:
    write_folder(tmp_path / "hf", config_of("qwen3"))
    refused = lite("convert", "hf", "-o", "hf/model.safetensors", "--force")
    assert refused.code == 2
    assert "would be written over itself" in refused.err
    assert refused.err.count("\n") == 1


@pytest.mark.parametrize("options", [("-o", "t.txt"), ("--save-imatrix", "t.txt")])
def test_a_text_to_measure_on_is_not_written_over(lite: Lite, tmp_path: Path, options: tuple[str, str]) -> None:
    (tmp_path / "t.txt").write_text("hello")
    refused = lite("quantize", "--to", "q4_k_m", "--imatrix", "t.txt", "--force", *options)
    assert refused.code == 2
    assert "would be written over itself" in refused.err
    assert (tmp_path / "t.txt").read_text() == "hello"


def test_list_tells_all_formats(lite: Lite) -> None:
    assert [row["format"] for row in json.loads(lite("quantize", "--to", "list", "--json").out)] == list(FORMATS)
    page = lite("quantize", "--to", "list")
    assert all(name in page.out for name in FORMATS)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("quantize", "small", "--to", "Q4_K_X"), 2, "did you mean"),
        (("quantize", "small", "--to", "IQ2_XS"), 2, "needs an importance matrix"),
        (("quantize", "small", "--to", "Q4_0", "--tensor", "attn_v"), 2, "REGEX=TYPE"),
        (("quantize", "small", "--to", "Q4_0", "--save-imatrix", "x"), 2, "--imatrix too"),
        (("quantize", "small", "--to", "Q4_0", "--imatrix", "missing.txt"), 2, "cannot read missing.txt"),
        pytest.param(("quantize", "small", "--to", "Q8_0", "-o", "."), 2, "a folder", marks=needs_llama),
        (("quantize", "smal", "--to", "Q8_0"), 1, "did you mean 'small'"),
        (("convert", "missing"), 1, "cannot read"),
        (("convert", "."), 1, "config.json"),
    ],
)
def test_what_cannot_be_is_one_line(lite: Lite, words: tuple[str, ...], code: int, said: str, tmp_path: Path) -> None:
    ran = lite(*words)
    assert ran.code == code
    assert said in ran.err
    assert ran.err.count("\n") == 1
    assert not list(tmp_path.iterdir())

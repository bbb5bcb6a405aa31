"""`lite quant-report`: the whole way, on a small model with random weights."""

import json
from pathlib import Path

import pytest
from gguf import TokenType

from tests.cli.conftest import Lite
from tests.gguf_files import bpe_vocabulary, write_gguf

SMALL = ("--problems", 2, "--samples", 2, "-n", 5, "-t", 1, "--quiet")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its rows suit no K-quant; its embedding has no padding, which llama.cpp would refuse."""
    path = tmp_path_factory.mktemp("models") / "odd.gguf"
    tokens = bpe_vocabulary()
    spare = {f"<spare {i}>": int(TokenType.CONTROL) for i in range(-len(tokens) % 32)}
    return write_gguf(path, tokens=tokens | spare, padding_rows=0)


def test_our_own_formats_are_compared_with_float32(lite: Lite, small_model: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("hello the world\n\nand the answer is 12\n", "utf-8")
    out = tmp_path / "told.json"
    ran = lite(
        "quant-report", small_model, "--formats", "int8-row,onnx-q4", "--text", text, "--out", out, "--json", *SMALL
    )
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert told == json.loads(out.read_text("utf-8"))
    assert told["references"] == [{"engine": "onnx", "format": "f32"}]
    rows, four = told["formats"]
    assert rows["weights"][0]["type"] == "INT8"
    assert "INT4 in blocks" in {one["type"] for one in four["weights"]}
    assert rows["bytes"] == sum(one["num_bytes"] for one in rows["weights"])
    for part in ("samples", "text"):
        fine, coarse = (one[part]["distribution"]["kl_mean"]["value"] for one in (rows, four))
        assert 0 < fine < coarse
    assert rows["samples"]["distribution"]["tokens"] == four["samples"]["distribution"]["tokens"] <= 2 * 2 * 5


def test_openvinos_formats_are_compared_with_its_own_float32(lite: Lite, small_model: Path) -> None:
    pytest.importorskip("lite.quant.openvino_runtime", reason="the extra `openvino` is not installed")
    ran = lite("quant-report", small_model, "--formats", "openvino-int8-row,openvino-q4", "--json", *SMALL)
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert told["references"] == [{"engine": "openvino", "format": "f32"}]
    rows, four = told["formats"]
    assert rows["weights"][0]["type"] == "INT8"
    assert {one["type"] for one in four["weights"]} == {"INT8 in blocks", "INT4 in blocks", "FLOAT32"}
    assert rows["bytes"] > four["bytes"]
    fine, coarse = (one["samples"]["distribution"]["kl_mean"]["value"] for one in (rows, four))
    assert 0 < fine < coarse


def test_the_tables_name_every_format(lite: Lite, small_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra `eval` is not installed")
    plot = tmp_path / "plot.png"
    ran = lite("quant-report", small_model, "--formats", "int8-row", "--plot", plot, *SMALL)
    assert ran.code == 0, ran.err
    assert ran.out.count("\nint8-row  ") == 5
    assert "in float32 on onnx" in ran.out
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_type_that_was_silently_replaced_is_named(lite: Lite, model: Path) -> None:
    pytest.importorskip("llama_cpp", reason="the extra `llama` is not installed")
    ran = lite("quant-report", model, "--formats", "q4_k_m", *SMALL)
    assert ran.code == 0, ran.err
    assert "q4_k_m: Q5_0, not Q4_K, whose blocks their rows do not fill, in blk." in ran.out
    assert "in float32 on llama" in ran.out


def test_a_calibrated_format_needs_other_texts_than_are_measured_on(lite: Lite, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="the extra `llama` is not installed")
    text = tmp_path / "text.txt"
    text.write_text("hello the world and the answer is 12. " * 30, "utf-8")
    command = ("quant-report", model, "--formats", "q4_0+imatrix", "--text", text, "--imatrix")
    ran = lite(*command, text, *SMALL)
    assert ran.code == 2
    assert "calibrate on other texts than you measure on" in ran.err


def test_what_cannot_be_measured_is_refused_in_one_line(lite: Lite, small_model: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("hello", "utf-8")
    for arguments, message in (
        (("--formats", "q99"), "unknown format 'q99'"),
        (("--formats", ","), "no format was named"),
        (("--formats", "int8-row", "--text", short), "at least 2 are needed"),
        (("--formats", "int8-row", "--imatrix", short), "without a format named +imatrix"),
        (("--formats", "int8-row", "--task", "no such task"), "there is no task"),
    ):
        ran = lite("quant-report", small_model, *SMALL, *arguments)
        assert (ran.code, ran.err.count("\n")) == (2, 1)
        assert message in ran.err

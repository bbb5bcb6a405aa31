"""Which formats there are, and what each of them really is."""

from pathlib import Path

import pytest

from lite.errors import MissingExtra, UsageError
from lite.evaluate.quantization import variants
from lite.evaluate.quantization.variants import default_formats, engine_for_files, variants_of


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if llama.cpp were there."""
    monkeypatch.setattr(variants, "find_spec", lambda name: object())


def test_formats_are_known_in_any_case_and_told_once() -> None:
    found = variants_of(["Q4_K_M", "int8-row", "q2_k+imatrix", "int8-row", "m.gguf"], "llama", has_imatrix=True)
    assert [(one.name, one.engine, one.to, one.format, one.calibrated) for one in found] == [
        ("Q4_K_M", "llama", "Q4_K_M", None, False),
        ("int8-row", "onnx", "", "int8-row", False),
        ("q2_k+imatrix", "llama", "Q2_K", None, True),
        ("m.gguf", "llama", "", None, False),
    ]
    assert found[-1].file == Path("m.gguf")


def test_on_onnx_runtime_a_files_weights_are_computed_with_in_float32() -> None:
    assert [one.format for one in variants_of(["q4_0", "onnx-q4"], "onnx", has_imatrix=False)] == ["f32", "q4"]


def test_openvinos_own_formats_are_asked_for_by_its_name() -> None:
    names = ["openvino-int8-row", "OpenVINO-q4", "int8-row"]
    found = variants_of(names, "auto", has_imatrix=False)
    assert [(one.engine, one.format) for one in found] == [
        ("openvino", "int8-row"),
        ("openvino", "q4"),
        ("onnx", "int8-row"),
    ]
    assert [one.format for one in variants_of(["m.gguf"], "openvino", has_imatrix=False)] == ["f32"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("q9_k", "unknown format 'q9_k': there is int8-row"),
        ("q4_k_m+imatrix", "needs texts to calibrate on"),
        ("iq2_xxs", "ask for iq2_xxs.imatrix"),
        ("int8-row+imatrix", "unknown format"),
    ],
)
def test_a_format_that_cannot_be_is_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        variants_of([name], "auto", has_imatrix=False)


def test_without_llama_files_run_on_onnx_runtime_and_none_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine_for_files("auto") == "llama"
    assert "q4_k_m" in default_formats()
    monkeypatch.setattr(variants, "find_spec", lambda name: None)
    assert engine_for_files("auto") == "onnx"
    assert default_formats() == ("int8-row", "onnx-q8", "onnx-q4")
    with pytest.raises(MissingExtra, match="quantizing to Q4_K_M needs the extra 'llama'"):
        variants_of(["q4_k_m"], "auto", has_imatrix=False)


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(UsageError, match="not measured on 'tpu'"):
        engine_for_files("tpu")

"""`lite run` and `lite show` of folders with ONNX models."""

import json
from pathlib import Path

import pytest

from lite.config import embedded_model
from lite.quant.gguf import open_gguf
from tests.cli.conftest import Lite
from tests.quant.onnx_folders import Export, write_folder, write_graph

QUESTION = "A baker fills 8 boxes with 347 rolls each. He sells 1289 rolls. How many rolls are left?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model."""
    with open_gguf(embedded_model()) as file:
        path = write_folder(tmp_path_factory.mktemp("folders") / "math-0.1", file)
        write_graph(path / "onnx" / "model_q4.onnx", file, Export(fused=True, weights="q4"))
    return path


def test_a_folder_is_run_as_the_file_it_was_made_from(lite: Lite, folder: Path) -> None:
    options = ("--no-think", "--samples", "4", "--json", QUESTION)
    ours = json.loads(lite("run", "--format", "f32", *options).out)
    theirs = json.loads(lite("run", "-m", str(folder), *options).out)
    assert theirs["text"] == ours["text"]
    assert (theirs["model"], theirs["engine"], theirs["format"]) == ("math-0.1", "onnx", "f32")
    chosen = json.loads(lite("run", "-m", str(folder), "--format", "q4", *options).out)
    assert chosen["format"] == "q4"


def test_show_tells_of_a_folder_what_formats_there_are(lite: Lite, folder: Path) -> None:
    told = json.loads(lite("show", str(folder), "--json").out)
    assert told["name"] == "math-0.1"
    assert [(one["engine"], one["format"], one["default"]) for one in told["engines"]] == [
        ("onnx", "f32", True),
        ("onnx", "q4", False),
    ]
    assert "tokenizer.json, 1024 tokens" in lite("show", str(folder)).out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--format", "int8"), "there is f32, q4"),
        (("--backend", "llama"), "runs no ONNX folders"),
        (("--ctx-size", "9999"), "9999"),
    ],
)
def test_what_a_folder_cannot_do_is_a_usage_error(
    lite: Lite, folder: Path, options: tuple[str, str], words: str
) -> None:
    ran = lite("run", "-m", str(folder), *options, "2+2")
    assert ran.code == 2
    assert words in ran.err
    assert ran.err.count("\n") == 1

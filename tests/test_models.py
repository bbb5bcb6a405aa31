"""Which models are at hand, what is in one, and whether it fits."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lite.config import embedded_model
from lite.errors import ModelError, NotEnoughMemory
from lite.models import (
    _free_of_container,
    available_memory,
    describe,
    find_models,
    memory_needed,
    require_memory,
    resolve,
)
from lite.quant.gguf import open_gguf
from tests.gguf_files import CHATML, bpe_vocabulary, write_gguf


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LITE_MODELS_DIR", str(tmp_path))
    return tmp_path


def test_finds_the_embedded_model_and_those_in_the_folders(folder: Path) -> None:
    write_gguf(folder / "b.gguf")
    write_gguf(folder / "a.gguf")
    (folder / "notes.txt").write_text("not a model")
    found = {model.name: model for model in find_models()}
    assert list(found) == [embedded_model().stem, "a", "b"]
    assert found["a"].path == folder / "a.gguf"
    assert found["a"].num_bytes == (folder / "a.gguf").stat().st_size
    assert [model.name for model in found.values() if model.embedded] == [embedded_model().stem]


def test_of_two_folders_the_first_wins_and_a_missing_one_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / "none", tmp_path / "first", tmp_path / "second"]
    for path in folders[1:]:
        path.mkdir()
        write_gguf(path / "m.gguf")
    monkeypatch.setenv("LITE_MODELS_DIR", os.pathsep.join(map(str, folders)))
    assert [model.path for model in find_models() if not model.embedded] == [folders[1] / "m.gguf"]


def test_resolves_names_paths_and_the_default(folder: Path) -> None:
    path = write_gguf(folder / "Small-1.gguf")
    assert resolve() == embedded_model()
    assert resolve("small-1") == resolve("Small-1.gguf") == resolve(path) == path
    assert resolve("~/x.gguf") == Path("~/x.gguf").expanduser()
    assert resolve("no/such.gguf") == Path("no/such.gguf")
    assert resolve("~nobody-of-that-name/x.gguf") == Path("~nobody-of-that-name/x.gguf")


def test_an_unknown_name_says_what_was_perhaps_meant(folder: Path) -> None:
    write_gguf(folder / "small.gguf")
    with pytest.raises(ModelError, match=r"no model 'smal'.* did you mean 'small'\? `lite ls`"):
        resolve("smal")
    for odd in ("x" * 5000, "a\0b", "."):
        with pytest.raises(ModelError):
            open_gguf(resolve(odd))
    with pytest.raises(ModelError, match=r"no model 'zzzz', neither as a file nor by name; `lite ls`"):
        resolve("zzzz")


def test_describes_what_is_really_in_a_file(tmp_path: Path) -> None:
    with open_gguf(write_gguf(tmp_path / "m.gguf", weight_type="Q8_0", tied=False)) as file:
        found = describe(file)
        parameters = sum(file.tensor(name).size for name in file.tensors)
    assert (found.name, found.config.architecture, found.config.context_length) == ("test", "qwen3", 256)
    assert found.num_parameters == parameters
    assert [(summary.type, summary.num_tensors) for summary in found.tensor_types] == [("Q8_0", 16), ("F32", 9)]
    assert found.weights_bytes == sum(tensor.num_bytes for tensor in file.tensors.values())
    assert (found.tokenizer, found.pre_tokenizer, found.num_tokens) == ("gpt2", "qwen2", len(bpe_vocabulary()))
    assert (found.has_template, found.thinking_switch, found.think_close) == (True, True, "</think>")


def test_describes_a_model_without_thinking(tmp_path: Path) -> None:
    found = describe(open_gguf(write_gguf(tmp_path / "m.gguf", chat_template=CHATML)))
    assert (found.has_template, found.thinking_switch, found.think_open) == (True, False, "")
    assert not describe(open_gguf(write_gguf(tmp_path / "m.gguf", chat_template=None))).has_template


def test_memory_is_weights_cache_and_logits(tmp_path: Path) -> None:
    config = open_gguf(write_gguf(tmp_path / "m.gguf")).config
    per_token = 2 * 2 * 2 * 16 * 4  # keys and values, layers, heads, head size, float32
    assert memory_needed(config, 1000, 4, 100) == 1000 + 4 * 100 * per_token + 4 * config.vocab_size * 16
    assert memory_needed(config, 0, 1, 10**9) == memory_needed(config, 0, 1, config.context_length)


def test_too_little_memory_is_refused_with_the_numbers(tmp_path: Path) -> None:
    config = replace(open_gguf(write_gguf(tmp_path / "m.gguf")).config, num_layers=1000, context_length=4096)
    require_memory(config, 1 << 20, 1, 10, available=1 << 30)
    with pytest.raises(
        NotEnoughMemory, match=r"16 samples of 4096 tokens need 15\.\d GiB \(1 MiB .* 1\.0 GiB are free"
    ):
        require_memory(config, 1 << 20, 16, 4096, available=1 << 30)
    with pytest.raises(NotEnoughMemory):
        require_memory(config, 1 << 60, 1, 1)


def test_a_container_limit_counts(tmp_path: Path) -> None:
    assert (available_memory() or 1) > 0
    assert _free_of_container(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 400\ninactive_file 100\n")
    assert _free_of_container(tmp_path) == 400
    (tmp_path / "memory.max").write_text("max\n")
    assert _free_of_container(tmp_path) is None


def test_listing_and_describing_import_nothing_heavy(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    script = (
        "import sys; from lite.models import describe, find_models; from lite.quant.gguf import open_gguf;"
        f"find_models(); describe(open_gguf({str(path)!r}));"
        "print([m for m in ('numpy', 'gguf', 'jinja2', 'tokenizers', 'onnxruntime') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"

"""What is in a model, and whether it fits."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lite.errors import NotEnoughMemory
from lite.models import (
    _free_of_container,
    available_memory,
    describe,
    memory_needed,
    require_memory,
)
from lite.quant.gguf import open_gguf
from tests.gguf_files import CHATML, bpe_vocabulary, write_gguf


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
        "import sys; from lite.library import find_models; from lite.models import describe;"
        "from lite.quant.gguf import open_gguf;"
        f"find_models(); describe(open_gguf({str(path)!r}));"
        "print([m for m in ('numpy', 'gguf', 'jinja2', 'tokenizers', 'onnxruntime') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"

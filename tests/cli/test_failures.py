"""Bad input: one line that says what is wrong, on stderr, and the right exit code; never a traceback."""

import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lite import engines
from lite.backends.base import Backend
from lite.backends.table import TableBackend
from lite.engines import EngineEntry, EngineSettings
from lite.quant.gguf import GGUFFile
from tests.cli.conftest import Lite, Ran
from tests.gguf_files import write_gguf

USAGE, FAILURE = 2, 1


def fails(ran: Ran, code: int, *words: str) -> None:
    """One line on stderr with these words, and nothing on stdout."""
    assert ran.code == code, ran.err
    assert ran.out == ""
    assert ran.err.startswith("lite: error: ")
    assert ran.err.endswith("\n")
    assert ran.err.count("\n") == 1
    for word in words:
        assert word in ran.err


@pytest.fixture
def broken(tmp_path: Path, small_model: Path) -> dict[str, Path]:
    """Files that are no model, each in its own way."""
    whole = small_model.read_bytes()
    contents = {
        "empty": b"",
        "wrong magic": b"GGML" + whole[4:],
        "random": np.random.default_rng(0).bytes(4096),
        "random after the magic": b"GGUF" + np.random.default_rng(1).bytes(4096),
        "cut in the header": whole[:100],
        "cut in the weights": whole[: len(whole) // 2],
        "absurd number of tensors": whole[:8] + struct.pack("<Q", 2**63) + whole[16:],
        "absurd number of keys": whole[:16] + struct.pack("<Q", 2**63) + whole[24:],
    }
    paths = {name: tmp_path / f"{name}.gguf" for name in contents}
    for name, content in contents.items():
        paths[name].write_bytes(content)
    return paths


@pytest.mark.parametrize("verb", [("run", "?"), ("show",)])
def test_a_file_that_is_no_model(lite: Lite, broken: dict[str, Path], verb: tuple[str, ...]) -> None:
    for path in broken.values():
        arguments = (*verb, "-m", path) if verb[0] == "run" else (*verb, path)
        fails(lite(*arguments), FAILURE, path.name)


def test_a_missing_file(lite: Lite, tmp_path: Path) -> None:
    fails(lite("run", "?", "-m", tmp_path / "none.gguf"), FAILURE, "none.gguf", "lite ls")
    fails(lite("run", "?", "-m", tmp_path), FAILURE, "folder")
    fails(lite("run", "?", "-f", tmp_path / "none.txt"), FAILURE, "none.txt", "No such file")


def test_an_unknown_model_name_with_the_nearest(lite: Lite) -> None:
    fails(lite("run", "?", "-m", "smal"), FAILURE, "'small'", "lite ls")


def test_an_unknown_architecture(lite: Lite, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", metadata={"general.architecture": "mamba"})
    fails(lite("run", "?", "-m", path), FAILURE, "mamba", "qwen3")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("qwen3.context_length", 0),
        ("qwen3.block_count", 2**31),
        ("qwen3.embedding_length", 7),
        ("qwen3.attention.head_count", 3),
        ("tokenizer.ggml.pre", "nobody-knows"),
    ],
)
def test_absurd_metadata(lite: Lite, tmp_path: Path, key: str, value: object) -> None:
    path = write_gguf(tmp_path / "m.gguf", metadata={key: value})
    fails(lite("run", "?", "-m", path), FAILURE, "m.gguf")


def test_a_prompt_over_the_context(lite: Lite) -> None:
    fails(lite("run", "many words " * 300, "-m", "small"), USAGE, "context of 256 tokens", "shorten")
    fails(lite("run", "?", "-m", "small", "-c", "4"), USAGE, "context of 4 tokens")


def test_a_context_over_the_models(lite: Lite) -> None:
    fails(lite("run", "?", "-m", "small", "-c", "257"), USAGE, "257", "256")


def test_too_little_memory(lite: Lite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lite.registry.available_memory", lambda: 100_000)
    fails(lite("run", "?", "-m", "small"), USAGE, "0 MiB are free", "smaller model")


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--samples", 0, ("samples", "at least 1", "0")),
        ("--samples", "many", ("many",)),
        ("--temperature", -1, ("temperature", "-1")),
        ("--temperature", "nan", ("temperature", "nan")),
        ("--top-p", 1.3, ("top_p", "(0, 1]", "1.3")),
        ("--seed", -1, ("seed", "-1")),
        ("--max-tokens", 0, ("max_tokens", "0")),
        ("--budget-tokens", 0, ("tokens", "0")),
        ("--max-seconds", "inf", ("seconds", "inf")),
        ("--threads", 0, ("threads", "0")),
        ("--parallel", 0, ("parallel", "0")),
        ("--format", "int9", ("int9", "int8-row")),
        ("--backend", "onxx", ("onxx", "'onnx'")),
        ("--strategy", "self-certanty", ("self-certanty", "'self-certainty'")),
        ("-o", "powr=1", ("powr", "'power'")),
        ("-o", "power=much", ("power", "much")),
        ("-o", "power", ("NAME=VALUE", "power")),
        ("--show", "everything", ("everything", "samples")),
        ("--sample", 3, ("--sample", "--samples")),
    ],
)
def test_a_value_that_cannot_be(lite: Lite, option: str, value: object, words: tuple[str, ...]) -> None:
    fails(lite("run", "?", "-m", "small", option, value), USAGE, *words)


def test_no_question(lite: Lite, tmp_path: Path) -> None:
    fails(lite("run"), USAGE, "no question")
    fails(lite("run", stdin=" \n"), USAGE, "no question")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    fails(lite("run", "-f", tmp_path / "binary"), USAGE, "UTF-8")


def test_an_unknown_verb(lite: Lite) -> None:
    fails(lite("runn"), USAGE, "runn")


def test_a_sampler_that_is_not_there(lite: Lite) -> None:
    fails(lite("run", "?", "-m", "small", "-o", "sampler=remote"), USAGE, "remote")


class BrokenBackend(TableBackend):
    """Its model gives NaN after `healthy` calls."""

    def __init__(self, file: GGUFFile, settings: EngineSettings, healthy: int) -> None:
        calls = iter(range(healthy))

        def logits(tokens: object) -> np.ndarray:
            value = np.nan if next(calls, None) is None else 0.0
            return np.full(file.config.vocab_size, value, np.float32)

        super().__init__(
            logits,
            vocab_size=file.config.vocab_size,
            num_slots=settings.num_slots,
            context_length=settings.context_length,
            forbidden=settings.forbidden_ids,
        )


@pytest.mark.parametrize("healthy", [0, 10])
def test_logits_that_are_not_numbers(lite: Lite, monkeypatch: pytest.MonkeyPatch, healthy: int) -> None:
    def opened(file: GGUFFile, settings: EngineSettings) -> Backend:
        return BrokenBackend(file, settings, healthy)

    entry: EngineEntry = replace(engines.ENGINES["onnx"], open=opened)
    monkeypatch.setitem(engines.ENGINES, "onnx", entry)
    fails(lite("run", "?", "-m", "small", "--samples", "4"), FAILURE, "finite")


def test_an_engine_that_cannot_be_imported(lite: Lite, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(file: GGUFFile, settings: EngineSettings) -> Backend:
        raise ModuleNotFoundError("No module named 'llama_cpp'", name="llama_cpp")

    entry = replace(engines.ENGINES["onnx"], open=opened, module="llama_cpp", extra="llama")
    monkeypatch.setitem(engines.ENGINES, "llama", entry)
    fails(lite("run", "?", "-m", "small", "--backend", "llama"), USAGE, "pip install 'lite-runtime[llama]'")
    monkeypatch.setitem(engines.ENGINES, "llama", replace(entry, extra=""))
    fails(lite("run", "?", "-m", "small", "--backend", "llama"), FAILURE, "lite doctor")


def test_a_cache_that_cannot_be_written_costs_time_only(
    lite: Lite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The folder stands below a file, which not even an administrator can write into."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("LITE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    ran = lite("run", "?", "-m", "small", "-n", "4")
    assert ran.code == 0
    assert ran.out
    assert "cannot keep the graph" in caplog.text
    caplog.clear()
    assert lite("run", "?", "-m", "small", "-n", "4", "-q").err == caplog.text == ""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="an administrator may write anywhere")
def test_a_read_only_cache_costs_time_only(lite: Lite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o500)
    monkeypatch.setenv("LITE_CACHE_DIR", str(tmp_path / "cache"))
    assert lite("run", "?", "-m", "small", "-n", "4").code == 0


def test_a_fault_of_our_own_is_one_line_too_unless_debugging(lite: Lite, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr("lite.registry.open_sampler", broken)
    fails(lite("run", "?"), FAILURE, "KeyError", "oops", "--debug")
    with pytest.raises(KeyError):
        lite("run", "?", "--debug")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--samples", "99999999999"), "samples must be at most 100,000"),
        (("-t", "99999"), "threads must be at most 1024"),
    ],
)
def test_numbers_that_nobody_could_wait_for_are_refused_at_once(lite: Lite, words: tuple[str, ...], said: str) -> None:
    ran = lite("run", "x", "-m", "small", *words)
    assert ran.code == 2
    assert said in ran.err

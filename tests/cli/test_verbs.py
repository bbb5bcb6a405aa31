"""The other verbs: what is at hand, what it is, and whether it works."""

import importlib
import json
from pathlib import Path

import pytest

from lite import engines
from lite.quant.onnx import FORMATS
from lite.strategies import STRATEGIES
from tests.cli.conftest import Lite
from tests.gguf_files import write_gguf

DOCTOR = importlib.import_module("lite.cli.doctor")


def test_ls_lists_the_embedded_model_and_the_folders(lite: Lite, small_model: Path) -> None:
    plain = json.loads(lite("ls", "--json").out)
    facts = {"name": "small", "bytes": small_model.stat().st_size, "embedded": False, "path": str(small_model)}
    assert {**facts, "store": "lite", "kind": "gguf", "problem": ""} in plain
    page = lite("ls")
    assert page.code == 0
    assert all(model["name"] in page.out for model in plain)


def test_show_reads_the_tensors_and_computes_the_memory(lite: Lite, small_model: Path) -> None:
    told = json.loads(lite("show", "small", "--json", "-c", "100").out)
    assert (told["architecture"], told["layers"], told["context"]) == ("qwen3", 2, 256)
    assert {kind["type"] for kind in told["tensor_types"]} == {"F32"}
    assert sum(kind["bytes"] for kind in told["tensor_types"]) == told["weights_bytes"]
    assert told["thinking_switch"]
    rows = {row["format"]: row["memory_bytes"] for row in told["engines"] if row["engine"] == "onnx"}
    assert set(rows) == set(FORMATS)
    kv_bytes = 100 * 2 * 2 * 2 * 16 * 4
    assert rows["f32"]["16"] - rows["f32"]["4"] >= 12 * kv_bytes
    assert rows["int8-row"]["1"] < rows["f32"]["1"]


def test_show_tells_people_the_same(lite: Lite) -> None:
    page = lite("show", "small").out
    for words in ("qwen3", "F32", "256 tokens", "<think>", "batch-invariant", "int8-row (default)", "N=16"):
        assert words in page


@pytest.mark.parametrize(
    ("template", "words"), [(None, "plain text"), ("{{ messages }}", "without a thinking mode"), ("<think>", "closes")]
)
def test_show_tells_what_the_template_can_do(lite: Lite, tmp_path: Path, template: str | None, words: str) -> None:
    assert words in lite("show", write_gguf(tmp_path / "m.gguf", chat_template=template)).out


def test_strategies_lists_all_and_tells_the_settings_of_one(lite: Lite) -> None:
    assert [one["name"] for one in json.loads(lite("strategies", "--json").out)] == list(STRATEGIES)
    page = lite("strategies").out
    assert all(name in page for name in STRATEGIES)
    one = json.loads(lite("strategies", "self-certainty", "--json").out)
    assert "power" in [setting["name"] for setting in one["settings"]]
    assert one["needs"] == {"local": ["certainty"]}
    assert "power" in lite("strategies", "self-certainty").out


def test_strategies_are_listed_by_family(lite: Lite) -> None:
    plain = json.loads(lite("strategies", "--json").out)
    families = list(dict.fromkeys(one["family"] for one in plain))
    heads = [line.partition(":")[0] for line in lite("strategies").out.splitlines() if line[:1].isalpha()]
    assert heads == families


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_has_a_page_that_tells_what_it_costs_and_needs(lite: Lite, name: str) -> None:
    plain = json.loads(lite("strategies", name, "--json").out)
    assert plain["cost"]
    assert len(plain["text"]) > 60
    assert all(setting["doc"] for setting in plain["settings"])
    page = lite("strategies", name).out
    for words in (f"cost: {plain['cost']}", "needs: ", plain["summary"], plain["paper"]):
        assert words in page


def test_an_unknown_strategy_is_a_usage_error(lite: Lite) -> None:
    ran = lite("strategies", "majorty")
    assert ran.code == 2
    assert "'majority'" in ran.err


def test_doctor_finds_nothing_missing_here(lite: Lite, cache: Path) -> None:
    ran = lite("doctor", "--json")
    findings = {finding["subject"]: finding for finding in json.loads(ran.out)}
    assert ran.code == 0, findings
    assert findings["engine onnx"]["ok"]
    assert findings["cache folder"]["detail"] == str(cache)
    assert findings["embedded model"]["ok"]


def test_doctor_tells_what_mends_it(lite: Lite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LITE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(DOCTOR, "_loads", lambda *_: (False, "No module named 'onnxruntime'"))
    ran = lite("doctor")
    assert ran.code == 1
    assert "LITE_CACHE_DIR" in ran.out
    assert "engine onnx: pip install" in ran.out


def test_doctor_survives_a_library_that_kills_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deadly.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ok, detail = DOCTOR._loads("deadly", "lite")
    assert not ok
    assert "code -9" in detail


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_shells_own_script(lite: Lite, shell: str) -> None:
    ran = lite("completion", shell)
    assert ran.code == 0
    assert "_LITE_COMPLETE" in ran.out


def test_version(lite: Lite) -> None:
    assert lite("--version").out.startswith("lite 0.")


@pytest.mark.parametrize("verb", ["run", "calibrate", "ls", "show", "strategies", "doctor", "completion"])
def test_every_verb_explains_itself(lite: Lite, verb: str) -> None:
    ran = lite(verb, "--help")
    assert ran.code == 0
    assert "--debug" in ran.out


def test_the_known_formats_are_those_of_the_engine() -> None:
    assert set(engines.ENGINES["onnx"].formats) == set(FORMATS)


def test_without_a_verb_the_help_is_shown(lite: Lite) -> None:
    ran = lite()
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == lite("--help").out

"""backend="auto": the engine whose steps are shortest by what was measured, and the first where nothing was."""

import json
import sys
from pathlib import Path

import pytest

from lite import engine_choice, engines, load, registry, timings
from lite.config import engine_figures_folder
from lite.engine_choice import Measured, fastest, figures_path, load_figures, save_figures
from lite.timings import Timings, smaller

SIZES = (1, 2, 4, 8, 16, 32)
FEW = Measured(engine="llama", format="Q8_0", timings=Timings({size: 1.0 * size for size in SIZES}))
MANY = Measured(engine="onnx", format="int8-row", timings=Timings(dict.fromkeys(SIZES, 3.0)))


def test_the_shortest_step_of_so_many_branches_wins() -> None:
    assert [fastest([FEW, MANY], size).engine for size in (1, 2, 3, 4, 16, 100)] == ["llama"] * 3 + ["onnx"] * 3


def test_between_what_was_measured_the_time_grows_evenly() -> None:
    found = Timings({1: 1.0, 2: 3.0, 4: 4.0})
    assert [found.of(size) for size in (1, 2, 3, 4, 9)] == [1.0, 3.0, 3.5, 4.0, 4.0]
    assert smaller(found, Timings({1: 2.0, 2: 2.0, 4: 9.0})).seconds == {1: 1.0, 2: 2.0, 4: 4.0}


def test_figures_are_kept_and_damaged_ones_are_as_none(tmp_path: Path) -> None:
    path = tmp_path / "new" / "figures.json"
    save_figures([FEW, MANY], path)
    assert load_figures(path) == (FEW, MANY)
    for text in ("", "[]", '{"lite_engines": 9}', '{"lite_engines": 1, "measured": [{"engine": "onnx"}]}'):
        path.write_text(text)
        assert load_figures(path) == ()
    assert load_figures(tmp_path / "none.json") == ()


def test_figures_are_of_one_model_and_one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {
        figures_path("hash", 2, ["click"]),
        figures_path("other", 2, ["click"]),
        figures_path("hash", 4, ["click"]),
    }
    known |= {figures_path("hash", 2, ["numpy"]), figures_path("hash", 2, ["not installed"])}
    monkeypatch.setattr(engine_choice, "processor", lambda: ("another", frozenset()))
    known.add(figures_path("hash", 2, ["click"]))
    assert len(known) == 6


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LITE_CACHE_DIR", str(tmp_path))
    return tmp_path


def drawn_by(samples: int, **chosen: str) -> tuple[str, str]:
    with load(samples=samples, context=64, **chosen) as model:  # type: ignore[arg-type]
        result = model.solve("2+3?", "majority", samples=1, max_tokens=1)
        assert (model.engine, model.format) == (result.engine, result.format)
        return model.engine, model.format


@pytest.mark.usefixtures("cache")
def test_auto_goes_by_the_figures_and_the_answer_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("llama_cpp", reason="the extra 'llama' is not installed")
    assert drawn_by(1) == ("onnx", "int8-row")
    monkeypatch.setattr(registry, "_MEASURED", ("onnx", "llama"))
    told = iter([MANY, MANY, FEW, FEW])  # each engine is measured twice
    monkeypatch.setattr(timings, "measure", lambda sampler: next(told).timings)
    assert registry.measure_engines(None, 2) == (MANY, FEW)
    assert len(list(engine_figures_folder().iterdir())) == 1
    assert drawn_by(1) == ("llama", "Q8_0")
    assert drawn_by(8) == ("onnx", "int8-row")
    assert drawn_by(1, format="int8-row") == ("onnx", "int8-row")
    assert drawn_by(1, format="f32") == ("onnx", "f32")
    assert drawn_by(1, backend="onnx") == ("onnx", "int8-row")


def test_auto_passes_over_an_engine_that_cannot_serve_the_call() -> None:
    assert registry._serves(engines.ENGINES["llama"], 255, "")
    assert not registry._serves(engines.ENGINES["llama"], 256, "")
    assert [name for name, entry in engines.ENGINES.items() if registry._serves(entry, 4, "data=2")] == ["jax"]


@pytest.mark.usefixtures("cache")
def test_an_engine_that_is_not_installed_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("llama_cpp", "openvino"):
        monkeypatch.setitem(sys.modules, library, None)
    for module in ("cpu.llama_api", "cpu.llama_cpp", "cpu.openvino"):
        monkeypatch.delitem(sys.modules, f"lite.backends.{module}", raising=False)
    for module in ("openvino_graph", "openvino_runtime"):
        monkeypatch.delitem(sys.modules, f"lite.quant.{module}", raising=False)
    monkeypatch.setattr(timings, "measure", lambda sampler: MANY.timings)
    assert [one.engine for one in registry.measure_engines(None, 2)] == ["onnx"]
    assert drawn_by(1) == ("onnx", "int8-row")


def test_other_machines_figures_are_not_used(cache: Path) -> None:
    pytest.importorskip("llama_cpp", reason="the extra 'llama' is not installed")
    figures = {"engine": "llama", "format": "Q8_0", "seconds": {"1": 1e-9}}
    (cache / "engines").mkdir()
    (cache / "engines" / "0123-4567.json").write_text(json.dumps({"lite_engines": 1, "measured": [figures]}))
    assert drawn_by(1) == ("onnx", "int8-row")

"""`lite doctor --calibrate`, and prompts that are kept from one call to the next."""

import importlib
import json
from pathlib import Path

import pytest

from lite import registry
from lite.engine_choice import Measured
from lite.timings import Timings
from tests.cli.conftest import Lite

DOCTOR = importlib.import_module("lite.cli.doctor")
FEW = Measured(engine="llama", format="Q8_0", timings=Timings({1: 0.001, 2: 0.002, 4: 0.004}))
MANY = Measured(engine="onnx", format="int8-row", timings=Timings({1: 0.003, 2: 0.003, 4: 0.003}))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The models that were measured."""
    models: list[str | None] = []

    def measure_engines(model: str | None, num_slots: int) -> tuple[Measured, ...]:
        models.append(model)
        return MANY, FEW

    monkeypatch.setattr(registry, "measure_engines", measure_engines)
    return models


def test_calibrate_tells_the_times_and_what_auto_takes(lite: Lite, asked: list[str | None]) -> None:
    ran = lite("doctor", "--calibrate", "small")
    assert ran.code == 0
    lines = [line.split() for line in ran.out.splitlines()[1:4]]
    assert lines == [["1", "3.00", "1.00", "llama"], ["2", "3.00", "2.00", "llama"], ["4", "3.00", "4.00", "onnx"]]
    assert "weights anew" in ran.out
    told = json.loads(lite("doctor", "--json", "--calibrate").out)
    assert told["auto"] == {"1": "llama", "2": "llama", "4": "onnx"}
    assert told["measured"][1] == {
        "engine": "llama",
        "format": "Q8_0",
        "seconds_per_step": {"1": 0.001, "2": 0.002, "4": 0.004},
    }
    assert asked == ["small", None]


def test_figures_that_cannot_be_kept_are_one_line(lite: Lite, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure_engines(model: str | None, num_slots: int) -> tuple[Measured, ...]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(registry, "measure_engines", measure_engines)
    ran = lite("doctor", "--calibrate")
    assert ran.code == 1
    assert "LITE_CACHE_DIR" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_a_long_prompt_is_kept_only_when_asked(lite: Lite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITE_CACHE_DIR", str(tmp_path))
    question = "one and two " * 120
    settings = ("run", "--json", "--no-think", "--samples", "2", "-n", "3", question)

    def told(*more: str) -> tuple[object, int]:
        ran = lite(*settings, *more)
        assert ran.code == 0, ran.err
        result = json.loads(ran.out)
        return [one["text"] for one in result["candidates"]], result["cost"]["cached_tokens"]

    plain, cached = told()
    assert not (tmp_path / "prompts").exists()
    assert told("--prompt-cache") == (plain, cached)
    again, more = told("--prompt-cache")
    assert again == plain
    assert more > cached + 256
    assert told() == (plain, cached)
    found = {finding.subject: finding.detail for finding in DOCTOR._folders()}
    assert f"{tmp_path / 'prompts'}: 1 kept, " in found["prompt cache"]

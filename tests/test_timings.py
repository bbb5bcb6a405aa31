"""samples="auto": measured once, the same from then on."""

import json
from pathlib import Path

import pytest

from lite import Model
from lite.backends.scripted import ScriptedSampler
from lite.strategies import Cascade, ESCoT, Greedy, Majority, Rounds, ThinkingBudget
from lite.timings import Timings, automatic, load_timings, measure, save_timings

FLAT = Timings({1: 1.0, 2: 1.1, 4: 1.3, 8: 1.9, 16: 3.5, 32: 7.0})
STEEP = Timings({1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0, 16: 16.0, 32: 32.0})


def test_a_step_that_costs_little_for_many_makes_larger_rounds() -> None:
    assert (FLAT.first, FLAT.most) == (8, 32)
    assert (STEEP.first, STEEP.most) == (4, 8)


def test_the_local_part_of_a_strategy_goes_in_rounds() -> None:
    rounds = Rounds(inner=Majority(), first=8, most=32)
    assert automatic(Majority(), FLAT) == rounds
    assert automatic(Cascade(small=Majority()), FLAT) == Cascade(small=rounds)
    assert automatic(Greedy(), FLAT) == Greedy()
    assert automatic(Rounds(first=2), FLAT) == Rounds(first=2)
    assert automatic(ESCoT(), FLAT) == ESCoT()
    assert automatic(ThinkingBudget(inner=Majority()), FLAT) == ThinkingBudget(inner=rounds)


def test_what_was_measured_is_kept(tmp_path: Path) -> None:
    ticks = iter(range(1000))
    timings = measure(ScriptedSampler(lambda request: "It is 4."), clock=lambda: float(next(ticks)))
    save_timings(timings, tmp_path / "new" / "timings.json")
    assert load_timings(tmp_path / "new" / "timings.json") == timings


@pytest.mark.parametrize("text", ["", "[]", "{", '{"lite_timings": 1, "seconds": {"1": 0}}', '{"lite_timings": 9}'])
def test_a_damaged_file_is_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "timings.json").write_text(text)
    assert load_timings(tmp_path / "timings.json") is None


def test_with_the_same_file_the_same_samples_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITE_CACHE_DIR", str(tmp_path))
    script = ScriptedSampler(lambda request: f"It is {'45'[request.sample % 2]}.")
    with Model(script, name="script", engine="scripted", format="text") as model:
        model.solve("How many?", "majority", samples="auto")
        (path,) = (tmp_path / "timings").iterdir()
        save_timings(STEEP, path)
        result = model.solve("How many?", "majority", samples="auto")
        assert len(result.candidates) == STEEP.most
        assert (result.strategy, result.value) == ("majority", "4")
        assert len(model.solve("How many?", Majority(), samples="auto").candidates) == STEEP.most
    assert path.name == "script-scripted-text.json"
    assert json.loads(path.read_text())["seconds"]["4"] == 4.0


def test_any_other_word_is_refused() -> None:
    with (
        Model(ScriptedSampler(lambda request: "4"), name="s", engine="s", format="s") as model,
        pytest.raises(ValueError, match="'auto'"),
    ):
        model.solve("?", samples="many")  # type: ignore[typeddict-item]

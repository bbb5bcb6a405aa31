"""What `lite bench` measures: every part of a step, once, and all of it told."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from lite.backends.table import TableBackend, hashed_logits
from lite.backends.table_codec import ByteCodec
from lite.engine import Engine
from lite.errors import UsageError
from lite.evaluate.benchmark import Workload
from lite.evaluate.ceilings import measure_ceilings
from lite.evaluate.parts import Parts, parts_of
from lite.evaluate.speed import measure_run, measure_variants, spread
from lite.evaluate.speed_plot import Line, Panel, render_plot
from tests.cli.conftest import Lite, cache, folders, lite, small_model  # noqa: F401


def table(tokens_per_step: int = 1) -> Parts:
    codec = ByteCodec()
    backend = TableBackend(
        hashed_logits(codec.vocab_size, order=1),
        vocab_size=codec.vocab_size,
        num_slots=4,
        tokens_per_step=tokens_per_step,
        forbidden=codec.forbidden_ids,
    )
    return parts_of(Engine(backend, codec), "table")


def test_a_run_times_every_part_of_the_step() -> None:
    parts = table()
    run = measure_run(parts, 3, prompt_tokens=20, new_tokens=6)
    assert run.prompt_tokens == 19  # the last token of a prompt is part of the first step
    assert run.tokens_per_step == pytest.approx(3, abs=0.8)
    assert 0 < run.prefill < run.first_token
    assert 0 < run.scheduling < run.step
    assert run.forward is run.draw is None  # a table does both at once
    assert run.decode_rate == pytest.approx(run.tokens_per_step / run.step)


def test_a_run_leaves_the_backend_as_it_was() -> None:
    parts = table()
    for _ in range(3):
        measure_run(parts, 4, prompt_tokens=8, new_tokens=3)
    assert "step" not in vars(parts.backend)
    assert "extend" not in vars(parts.backend)


def test_an_engine_that_draws_several_tokens_a_step_is_measured_too() -> None:
    run = measure_run(table(4), 2, prompt_tokens=8, new_tokens=16)
    assert run.tokens_per_step > 4


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="128"):
        measure_run(table(), 1, prompt_tokens=120, new_tokens=20)


def test_the_variants_take_turns_and_the_first_round_is_not_counted() -> None:
    runs = measure_variants([table(), table()], (1, 2), prompt_tokens=8, new_tokens=3, rounds=2)
    told = []
    while True:
        try:
            told.append(next(runs))
        except StopIteration as end:
            found = end.value
            break
    assert told == [(done, 12) for done in range(1, 13)]
    assert [[len(rounds) for rounds in variant] for variant in found] == [[2, 2], [2, 2]]


def test_a_spread_is_median_and_quartiles() -> None:
    told = spread([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (told.median, told.low, told.high) == (3.0, 2.0, 4.0)
    assert spread([5.0]).low == 5.0


def test_the_ceilings_are_measured() -> None:
    told = measure_ceilings(2, copy_bytes=1 << 20, rounds=1)
    assert told.bytes_per_second > 1e6
    assert told.flops_per_second > 1e6
    better = told.best(measure_ceilings(2, copy_bytes=1 << 20, rounds=1))
    assert better.bytes_per_second >= told.bytes_per_second


@pytest.mark.parametrize("name", ["prompt_tokens", "new_tokens", "rounds"])
def test_a_workload_refuses_numbers_out_of_range(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Workload(**{name: 0})
    with pytest.raises(ValueError, match="samples"):
        Workload(samples=())


def test_the_plot_is_sound_and_escapes_names() -> None:
    line = Line("a <b> & c", [(1, 2.0, 1.0, 3.0), (4, 8.0, 7.0, 9.0)])
    root = ElementTree.fromstring(render_plot([Panel("speed", [line]), Panel("one", [line])], "samples"))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("a <b> & c") == 1
    assert {"speed", "one", "samples"} <= set(texts)
    assert render_plot([Panel("one", [Line("a", [(1, 2.0, 2.0, 2.0)])])], "samples")


def test_the_verb_writes_what_it_measured(lite: Lite, tmp_path: Path) -> None:  # noqa: F811
    out, plot = tmp_path / "a.json", tmp_path / "a.svg"
    settings = ("--samples", "1,3", "--prompt-tokens", "8", "-n", "3", "--rounds", "2", "-t", "1")
    ran = lite("bench", "small", "--format", "f32", "--format", "int8-row", *settings, "-o", out, "--plot", plot)
    assert ran.code == 0, ran.err
    told = json.loads(out.read_text())
    assert [(one["engine"], one["format"]) for one in told["variants"]] == [("onnx", "int8-row"), ("onnx", "f32")]
    for variant in told["variants"]:
        assert [run["samples"] for run in variant["runs"]] == [1, 3]
        for run in variant["runs"]:
            step = sum(run[name]["median"] for name in ("forward", "draw", "scheduling"))
            assert step == pytest.approx(run["step"]["median"], rel=0.5)
            assert run["memory_share"] > 0
            assert run["needed_bytes"] > variant["weights_bytes"]
    ElementTree.fromstring(plot.read_text())
    assert "tok/s" in ran.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--samples", "x"), "N,N"),
        (("--format", "nonsense"), "nonsense"),
        (("--backend", "nonsense"), "onnx"),
        (("--prompt-tokens", "4000"), "context"),
    ],
)
def test_the_verb_refuses_in_one_line(lite: Lite, arguments: tuple[str, str], words: str) -> None:  # noqa: F811
    ran = lite("bench", "small", *arguments)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert words in ran.err

"""`lite run`: questions in, answers and accounts out, the same every time."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Lite

QUICK = ("-m", "small", "-n", "12", "--samples", "4")


def test_the_answer_is_all_there_is_on_stdout_and_the_account_on_stderr(lite: Lite) -> None:
    ran = lite("run", "How many?", *QUICK)
    told = json.loads(lite("run", "How many?", *QUICK, "--json").out)
    assert ran.code == 0
    assert ran.out == told["text"] + "\n"
    assert ran.err.startswith("self-certainty, 4 samples, ")
    assert ran.err.count("\n") == 1


def test_json_is_one_line_and_byte_identical_from_run_to_run(lite: Lite) -> None:
    first, second = (lite("run", "How many?", *QUICK, "--no-think", "--json", "-q") for _ in range(2))
    assert first.code == 0
    assert first.out == second.out
    assert first.out.count("\n") == 1
    assert first.err == ""


def test_more_samples_leave_the_first_ones_as_they_were(lite: Lite) -> None:
    few = json.loads(lite("run", "How many?", *QUICK, "--json").out)
    many = json.loads(lite("run", "How many?", *QUICK, "--samples", "8", "--parallel", "3", "--json").out)
    assert many["candidates"][:4] == few["candidates"]
    assert (len(few["votes"]), len(many["votes"])) == (4, 8)


def test_json_tells_who_drew_what_at_which_cost(lite: Lite) -> None:
    told = json.loads(lite("run", "How many?", *QUICK, "--json", "--seed", "7", "--format", "f32").out)
    assert {name: told[name] for name in ("strategy", "model", "engine", "format", "seed")} == {
        "strategy": "self-certainty",
        "model": "small",
        "engine": "onnx",
        "format": "f32",
        "seed": 7,
    }
    assert [one["sample"] for one in told["candidates"]] == [0, 1, 2, 3]
    assert told["cost"]["drawn_tokens"] == sum(one["tokens"] for one in told["candidates"])
    assert "seconds" not in told["cost"]


def test_timings_are_told_on_demand(lite: Lite) -> None:
    assert json.loads(lite("run", "How many?", *QUICK, "--json", "--timings").out)["cost"]["seconds"] > 0


def test_file_then_pipe_then_argument_make_the_question(lite: Lite, tmp_path: Path) -> None:
    (tmp_path / "part.txt").write_text("Ann has 3.\n", "utf-8")
    joined = lite("run", "How many?", "-f", tmp_path / "part.txt", *QUICK, "--json", stdin="Bob has 2.\n")
    whole = lite("run", "Ann has 3.\nBob has 2.\nHow many?", *QUICK, "--json")
    assert joined.out == whole.out


def test_options_can_come_from_the_environment_and_the_command_line_wins(
    lite: Lite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITE_RUN_SAMPLES", "2")
    monkeypatch.setenv("LITE_RUN_MODEL", "small")
    assert len(json.loads(lite("run", "?", "-n", "4", "--json").out)["candidates"]) == 2
    assert len(json.loads(lite("run", "?", "-n", "4", "--json", "--samples", "3").out)["candidates"]) == 3


@pytest.mark.parametrize("strategy", ["greedy", "sample", "majority", "nothinking", "rpc"])
def test_every_kind_of_strategy_runs(lite: Lite, strategy: str) -> None:
    told = json.loads(
        lite("run", "?", "-m", "small", "-n", "6", "--samples", "2", "--strategy", strategy, "--json").out
    )
    assert told["strategy"] == strategy
    assert len(told["candidates"]) == (1 if strategy in ("greedy", "sample") else 2)


def test_a_setting_reaches_the_strategy(lite: Lite) -> None:
    told = json.loads(lite("run", "?", *QUICK, "-o", "rule=argmax", "--json").out)
    assert told["confidence"] is None
    assert not any(told["votes"])


def test_the_table_of_samples_goes_to_stderr(lite: Lite) -> None:
    ran = lite("run", "?", *QUICK, "--show", "samples")
    head, *rows, _ = ran.err.splitlines()
    assert head.split() == ["sample", "answer", "certainty", "tokens", "votes", "end"]
    assert len(rows) == 4
    assert "certainty" not in ran.out


def test_quiet_leaves_nothing_but_the_answer(lite: Lite) -> None:
    assert lite("run", "?", *QUICK, "-q", terminal=True).err == ""


def test_a_terminal_gets_a_live_line_that_is_erased(lite: Lite) -> None:
    ran = lite("run", "?", "-m", "small", "-n", "200", "--samples", "16", terminal=True)
    *live, rest = ran.err.split("\r")
    assert any("of 16 samples" in line for line in live)
    assert live[-1].strip() == ""
    assert rest.startswith("self-certainty, 16 samples")
    assert lite("run", "?", *QUICK, "--no-stream", terminal=True).err.count("\r") == 0


def test_a_lone_sample_is_streamed_to_a_terminal_as_it_will_be_printed(lite: Lite) -> None:
    arguments = ("run", "?", "-m", "small", "-n", "30", "--strategy", "greedy", "--no-think")
    assert lite(*arguments, terminal=True).out.strip() == lite(*arguments).out.strip()


def test_a_budget_ends_the_run_with_the_best_answer_so_far(lite: Lite) -> None:
    told = json.loads(lite("run", "?", *QUICK, "--budget-tokens", "10", "--json").out)
    assert sum(one["tokens"] for one in told["candidates"]) == 10
    assert {one["reason"] for one in told["candidates"]} == {"budget"}


def test_greedy_is_temperature_zero(lite: Lite) -> None:
    greedy = json.loads(lite("run", "?", "-m", "small", "-n", "8", "--strategy", "greedy", "--json").out)
    cold = json.loads(lite("run", "?", *QUICK, "-n", "8", "--temp", "0", "--json").out)
    assert {one["text"] for one in cold["candidates"]} == {greedy["candidates"][0]["text"]}


def test_little_memory_costs_time_only(
    lite: Lite, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plenty = lite("run", "?", *QUICK, "--json")
    monkeypatch.setattr("lite.registry.available_memory", lambda: 600_000)
    little = lite("run", "?", *QUICK, "--json", "-v")
    candidates = [json.loads(ran.out)["candidates"] for ran in (plenty, little)]
    assert candidates[0] == candidates[1]
    assert "3 samples are drawn at once, not 4" in caplog.text

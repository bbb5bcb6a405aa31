"""`lite eval` and `lite replay`, as they are typed; in processes of their own where signals are sent."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lite.cli.rate import RateLine, duration
from tests.cli.conftest import Lite, Terminal, cache, folders, lite, small_model

__all__ = ["cache", "folders", "lite", "small_model"]  # fixtures

QUICK = ("-m", "small", "-n", "10", "--samples", "4", "--parallel", "8")
CHOSEN = ("--strategy", "greedy", "--strategy", "majority", "--strategy", "self-certainty")

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")


@pytest.fixture
def task(tmp_path: Path) -> Path:
    path = tmp_path / "task.jsonl"
    lines = [{"question": f"How many in {i}?", "answer": f"Think.\n#### {i}"} for i in range(6)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_summary_is_on_stdout_and_the_log_and_the_time_on_stderr(lite: Lite, task: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    ran = lite("eval", task, *QUICK, *CHOSEN, "--log", log)
    assert ran.code == 0, ran.err
    for words in ("task: 6 questions, small (onnx int8-row)", "self-certainty", "against greedy", "pass@k"):
        assert words in ran.out
    assert ran.err.startswith(f"log: {log}\n")
    assert "tok/s" in ran.err
    again = lite("eval", task, *QUICK, *CHOSEN, "--log", log, "--json", "-q")
    assert again.err == ""
    told = json.loads(again.out)
    assert [row["strategy"] for row in told["strategies"]] == ["greedy", "majority", "self-certainty"]
    assert "measured" not in told


def test_shards_and_their_replay_are_one_run(lite: Lite, task: Path, tmp_path: Path) -> None:
    for i in range(2):
        assert lite("eval", task, *QUICK, *CHOSEN, "--log", tmp_path / f"{i}.jsonl", "--shard", f"{i}/2").code == 0
    whole = lite("eval", task, *QUICK, *CHOSEN, "--log", tmp_path / "whole.jsonl", "--json")
    merged = lite("replay", tmp_path / "0.jsonl", tmp_path / "1.jsonl", "--json")
    assert merged.code == 0, merged.err
    assert merged.out == whole.out


def test_a_replay_of_a_real_model_is_what_it_gave_live(lite: Lite, task: Path, tmp_path: Path) -> None:
    log, live = tmp_path / "log.jsonl", tmp_path / "live.jsonl"
    specs = ("rpc", "borda:p=0.5", "shortest-majority", "first-finish", "greedy")
    chosen = [word for spec in specs for word in ("--strategy", spec)]
    assert lite("eval", task, *QUICK, *CHOSEN, "--log", log).code == 0
    drawn = json.loads(lite("eval", task, *QUICK, *chosen, "--log", live, "--json").out)
    ran = lite("replay", log, *(word for spec in specs for word in ("--select", spec)), "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["strategies"] == drawn["strategies"]
    assert "30 answers replayed" in ran.err


def test_a_log_in_the_cache_is_found_again(lite: Lite, cache: Path) -> None:
    command = ("eval", "lists", "--limit", "2", *QUICK, "--strategy", "majority")
    first, second = lite(*command), lite(*command)
    assert first.out == second.out
    assert str(cache / "evaluations") in first.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("eval", "nonsense"), "there is no task"),
        (("eval", "lists", "--strategy", "majorty"), "Did you mean"),
        (("eval", "lists", "--shard", "4/4"), "I/N"),
        (("eval", "lists", "--budget-tokens", "0"), "tokens must be"),
        (("eval", "lists", "--top-p", "3"), "top_p must be"),
        (("eval", "lists", "-m", "small", "--limit", "1", "--strategy", "cascade"), "remote"),
        (("replay", __file__), "is no question"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(lite: Lite, arguments: tuple[str, ...], words: str) -> None:
    ran = lite(*arguments)
    assert ran.code == 2
    assert words in ran.err.splitlines()[-1]
    assert ran.out == ""


def test_the_live_line_tells_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    line = RateLine(40, "answers")
    line._begun -= 60
    line.show(10, 6000)
    line.show(11, 6100)
    assert shown.getvalue().startswith("\r10 of 40 answers, 6000 tokens, 100 tok/s, 3:00 left")
    assert "11 of" not in shown.getvalue(), "drawn a few times a second, not each time"
    line.close()
    assert duration(3723.4) == "1:02:03"


def started(*arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "lite", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def until_it_has_lines(path: Path, process: "subprocess.Popen[str]", count: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.02)
    raise AssertionError(f"ended too early: {process.communicate()}")


@posix
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_killed_goes_on_to_the_same_bytes(lite: Lite, tmp_path: Path, number: int) -> None:
    command = ("eval", "arithmetic", "--limit", "12", "-m", "small", "-n", "60", "--samples", "4", "--parallel", "4")
    command += (*CHOSEN, "--json")
    log = tmp_path / "log.jsonl"
    process = started(*command, "--log", log)
    until_it_has_lines(log, process, 12)
    os.kill(process.pid, number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert out == ""
    assert ("the same command goes on" in err) == (number == signal.SIGINT)
    resumed = lite(*command, "--log", log)
    whole = lite(*command, "--log", tmp_path / "whole.jsonl")
    assert resumed.out == whole.out

"""`lite calibrate` and `lite run --router`: a threshold that is found on labelled questions, and used."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lite.backends.scripted import ScriptedSampler
from tests.cli.conftest import Lite
from tests.http_servers import Larger, Server, free_port

ASKED = ("-m", "small", "-n", "6", "--samples", "3")


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITE_CONFIG_DIR", str(tmp_path))


@pytest.fixture
def server() -> Iterator[Server]:
    with Server([Larger(sampler=partial(ScriptedSampler, lambda request: "The answer is 42."))]) as server:
        yield server


@pytest.fixture
def task(tmp_path: Path) -> Path:
    lines = [{"question": f"How many? It is {i}.", "answer": "42"} for i in range(6)]
    path = tmp_path / "task.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines), "utf-8")
    return path


def calibrated(lite: Lite, server: Server, task: Path, *more: str) -> dict[str, object]:
    out = task.with_name("router.json")
    ran = lite("calibrate", "--task", task, *ASKED, "--remote", server.url, "--out", out, *more)
    assert ran.code == 0, ran.err
    assert "threshold" in ran.out
    plain = json.loads(out.read_text("utf-8"))
    assert isinstance(plain, dict)
    return plain


@pytest.mark.parametrize(("router", "measure"), [("cascade", "self-certainty"), ("hybrid", "self-certainty")])
def test_the_file_is_written_and_a_run_uses_it(
    lite: Lite, server: Server, task: Path, router: str, measure: str
) -> None:
    plain = calibrated(
        lite, server, task, "--router", router, "-o", f"measure={measure}", "--share", "0.5", "--no-think"
    )
    assert (plain["strategy"], plain["measure"], plain["model"], plain["questions"]) == (router, measure, "small", 6)
    assert plain["options"] == {"samples": 3, "max_tokens": 6, "think": False, "settings": {"measure": measure}}
    calls = len(server.paths)
    run = ("run", "-m", "small", "--router", task.with_name("router.json"), "--remote", server.url, "--json", "-q")
    answers = [json.loads(lite(*run, f"How many? It is {i}.").out) for i in range(6)]
    assert {answer["strategy"] for answer in answers} == {router}
    sent = [any(one["sampler"] == "remote" for one in answer["candidates"]) for answer in answers]
    assert sum(sent) <= 3
    assert sum(sent) <= len(server.paths) - calls


def test_the_file_is_the_same_for_the_same_data(lite: Lite, server: Server, task: Path) -> None:
    first, second = (calibrated(lite, server, task, "--share", "1") for _ in range(2))
    assert first == second


def test_what_a_run_is_given_wins_over_the_file(lite: Lite, server: Server, task: Path) -> None:
    calibrated(lite, server, task, "--share", "0")
    run = ("run", "?", "-m", "small", "--router", task.with_name("router.json"), "--remote", server.url, "--json", "-q")
    kept, changed = (json.loads(lite(*run, *more).out) for more in ((), ("--samples", "2", "-o", "large=sample")))
    drawn = [[one["sampler"] for one in answer["candidates"]].count("local") for answer in (kept, changed)]
    assert drawn == [3, 2]


def test_a_stronger_setting_of_the_same_model_may_be_the_large_one(lite: Lite, task: Path) -> None:
    out = task.with_name("router.json")
    own = ("-o", "large=majority", "-o", "large.sampler=local")
    ran = lite("calibrate", "--task", task, *ASKED, *own, "--share", "0.3", "--out", out, "--limit", "2", "-q")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert json.loads(lite("run", "?", "-m", "small", "--router", out, "--json", "-q").out)["strategy"] == "cascade"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("--share or --accuracy",)),
        (("--share", "0.5", "--accuracy", "0.5"), ("--share or --accuracy",)),
        (("--share", "1.5"), ("share", "1.5")),
        (("--share", "nan"), ("share", "nan")),
        (("--share", "0.5", "--router", "majority"), ("Majority", "cascade and hybrid")),
        (("--share", "0.5", "--router", "cascad"), ("'cascade'",)),
        (("--share", "0.5", "--samples", "auto"), ("auto",)),
        (("--share", "0.5", "--task", "none.jsonl"), ("none.jsonl",)),
        (("--share", "0.5", "--out", "none/router.json"), ("none",)),
        (("--accuracy", "0.99"), ("cannot show",)),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    lite: Lite, server: Server, task: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    out = ("--out", task.with_name("router.json"))
    ran = lite("calibrate", "--task", task, *ASKED, "--remote", server.url, *out, "-q", *arguments)
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert all(word in ran.err for word in words), ran.err
    assert not task.with_name("router.json").exists()


def test_a_server_that_never_answers_ends_it(lite: Lite, task: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    ran = lite(
        "calibrate", "--task", task, *ASKED, "--remote", url, "--share", "1", "--offline", "--out", task.parent / "r"
    )
    assert ran.code == 1
    assert "none of 6 questions" in ran.err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lite_calibration": 7}, "no calibration"),
        ({"options": []}, "no object"),
        ({"options": {"smaples": 3}}, "'samples'"),
        ({"options": {"settings": 3}}, "settings"),
        ({"strategy": "majority"}, "measure"),
        ({"threshold": "high"}, "no calibration"),
    ],
)
def test_a_damaged_router_is_refused_in_a_line(
    lite: Lite, server: Server, task: Path, change: dict[str, object], words: str
) -> None:
    point = {"threshold": 0.5, "share": 0, "risk": 0, "accuracy": 1, "cost": 1}
    good = {
        "lite_calibration": 1,
        "strategy": "cascade",
        "measure": "votes",
        "threshold": 0.5,
        "target": "",
        "data": "",
    }
    path = task.with_name("router.json")
    path.write_text(json.dumps({**good, "questions": 1, "curve": [point], **change}), "utf-8")
    ran = lite("run", "?", "-m", "small", "--router", path, "--remote", server.url)
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert "router.json" in ran.err
    assert words in ran.err
    assert lite("run", "?", "--router", path, "--strategy", "majority").code == 2
    assert lite("run", "?", "--router", task.with_name("none.json")).code == 2

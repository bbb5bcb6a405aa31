"""`lite eval` of strategies that ask a remote model: a real server on loopback is the larger one."""

import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lite.backends.scripted import ScriptedSampler
from tests.cli.conftest import Lite, cache, folders, lite, small_model
from tests.http_servers import Larger, Server, free_port

__all__ = ["cache", "folders", "lite", "small_model"]  # fixtures

pytest.importorskip("httpx", reason="needs the extra 'remote'")

QUICK = ("-m", "small", "-n", "10", "--samples", "2", "--parallel", "8", "-q", "--json")
ROUTED = ("--strategy", "cascade", "--strategy", "majority")


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITE_CONFIG_DIR", str(tmp_path))
    (tmp_path / "config.toml").write_text("[remote]\nstream = false\n")  # so that an answer comes as one text


@pytest.fixture
def task(tmp_path: Path) -> Path:
    path = tmp_path / "task.jsonl"
    path.write_text("".join(json.dumps({"question": f"How many in {i}?", "answer": "42"}) + "\n" for i in range(3)))
    return path


@pytest.fixture
def server() -> Iterator[Server]:
    scripted = partial(ScriptedSampler, lambda request: "The answer is 42.")
    with Server([Larger(sampler=scripted, tells_logprobs=False)]) as server:
        yield server


def rows(told: str) -> dict[str, dict[str, object]]:
    return {row["strategy"]: row for row in json.loads(told)["strategies"]}


def test_a_router_is_compared_with_what_stays_here(lite: Lite, task: Path, server: Server, tmp_path: Path) -> None:
    chosen = (*QUICK, *ROUTED, "--log", tmp_path / "log.jsonl", "--remote", server.url, "--remote-price", "1,1000000")
    ran = lite("eval", task, *chosen)
    assert ran.code == 0, ran.err
    told = rows(ran.out)
    assert (told["cascade"]["right"], told["cascade"]["unserved"]) == (3, 0)
    assert told["majority"]["right"] == 0
    assert told["cascade"]["mean_cost"]["remote_calls"] == 1  # type: ignore[index]
    cost = told["cascade"]["mean_cost"]
    assert isinstance(cost, dict)
    assert cost["money"] > 1
    here = told["majority"]["mean_cost"]["drawn_tokens"]  # type: ignore[index]
    assert cost["drawn_tokens"] - here == math.floor(cost["money"]), "a token of the server's costs 1"
    asked = len(server.paths)
    assert lite("eval", task, *chosen).out == ran.out
    assert len(server.paths) == asked, "a finished log asks nobody again"
    replayed = lite("replay", tmp_path / "log.jsonl", "--select", "cascade", "--json")
    assert replayed.code == 0, replayed.err
    assert rows(replayed.out)["cascade"] == told["cascade"]


def test_the_text_tells_the_calls(lite: Lite, task: Path, server: Server, tmp_path: Path) -> None:
    ran = lite("eval", task, *QUICK[:-1], *ROUTED, "--log", tmp_path / "log.jsonl", "--remote", server.url)
    assert "remote calls" in ran.out


def test_a_server_that_fails_is_told_of_and_the_local_answers_stand(lite: Lite, task: Path, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    ran = lite("eval", task, *QUICK, *ROUTED, "--log", tmp_path / "log.jsonl", "--remote", url, "--remote-model", "m")
    assert ran.code == 0, ran.err
    told = rows(ran.out)
    assert told["cascade"]["unserved"] == 3
    assert told["majority"]["unserved"] == 0


def test_a_log_is_of_one_remote_model(lite: Lite, task: Path, server: Server, tmp_path: Path) -> None:
    log = ("--log", tmp_path / "log.jsonl")
    assert lite("eval", task, *QUICK, "--strategy", "majority", *log).code == 0
    ran = lite("eval", task, *QUICK, *ROUTED, *log, "--remote", server.url)
    assert ran.code == 2
    assert "another remote model (none" in ran.err


def test_without_a_server_a_router_is_refused_before_anything_is_loaded(lite: Lite, task: Path) -> None:
    ran = lite("eval", task, "-m", "small", *ROUTED)
    assert ran.code == 2
    assert "cascade asks a remote model: give --remote URL" in ran.err

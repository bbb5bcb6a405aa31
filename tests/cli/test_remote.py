"""`lite run --remote`: what is asked of a server, what stays here, and what the user is told."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lite.backends.scripted import ScriptedSampler
from tests.cli.conftest import Lite, Ran
from tests.gguf_files import CHATML, write_gguf
from tests.http_servers import Larger, Server, free_port

ASKED = ("run", "How many?", "-m", "small", "-n", "8", "--samples", "2", "--json")
ALL_REMOTE = ("--strategy", "greedy", "-o", "sampler=remote")


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's settings, in a folder of the test's own."""
    monkeypatch.setenv("LITE_CONFIG_DIR", str(tmp_path))
    return tmp_path / "config.toml"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server([Larger(sampler=partial(ScriptedSampler, lambda request: "The answer is 42."))]) as server:
        yield server


def told(ran: Ran) -> dict[str, object]:
    assert ran.code == 0, ran.err
    plain = json.loads(ran.out)
    assert isinstance(plain, dict)
    return plain


def test_a_remote_model_makes_the_strategy_a_cascade(lite: Lite, server: Server) -> None:
    plain = told(lite(*ASKED, "--remote", server.url, "--remote-price", "2,1000000"))
    assert (plain["strategy"], plain["value"], plain["failures"]) == ("cascade", "42", [])
    assert [one["sampler"] for one in plain["candidates"]] == ["local", "remote", "local"]  # type: ignore[index, attr-defined]
    cost = plain["cost"]
    assert isinstance(cost, dict)
    assert cost["remote_calls"] >= 1
    assert cost["money"] > 1


def test_the_account_tells_the_calls(lite: Lite, server: Server) -> None:
    ran = lite(*ASKED[:-1], "--remote", server.url, "--remote-price", "2,1000000", "--show", "samples")
    assert ran.out == "The answer is 42.\n"
    assert "1 remote call for " in ran.err
    assert [line.split()[-1] for line in ran.err.splitlines()[:4]] == ["by", "local", "remote", "local"]


def test_the_model_the_key_and_the_url_may_stand_in_the_settings(
    lite: Lite, server: Server, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.write_text(f'[remote]\nurl = "{server.url}"\nmodel = "larger"\nkey_env = "A"\nretries = 0\n', "utf-8")
    monkeypatch.setenv("A", "first")
    monkeypatch.setenv("B", "second")
    assert told(lite(*ASKED, "--strategy", "cascade"))["value"] == "42"
    assert {body["model"] for body in server.bodies} == {"larger"}
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer first"}
    lite(*ASKED, *ALL_REMOTE, "--remote-key-env", "B", "--remote-model", "other")
    assert server.bodies[-1]["model"] == "other"
    assert server.headers[-1]["Authorization"] == "Bearer second"


def test_the_settings_alone_send_nothing(lite: Lite, server: Server, settings: Path) -> None:
    settings.write_text(f'[remote]\nurl = "{server.url}"\n', "utf-8")
    assert told(lite(*ASKED))["strategy"] == "self-certainty"
    assert server.paths == []


@pytest.mark.parametrize("url", ["https://h:99999/v1", "https://[::1/v1", "https://h:0/v1", "ftp://h/v1"])
def test_a_url_that_cannot_be_is_one_line(lite: Lite, url: str) -> None:
    ran = lite(*ASKED, "--remote", url)
    assert ran.code == 2
    assert "url must be like https://host/v1" in ran.err


def test_a_rule_that_cannot_be_read_is_told_of_even_where_nothing_is_sent(lite: Lite) -> None:
    ran = lite(*ASKED, "--private", "(")
    assert ran.code == 2
    assert "privacy pattern '('" in ran.err


def test_a_strategy_that_asks_nobody_leaves_it_unused_and_says_so(lite: Lite, server: Server) -> None:
    ran = lite(*ASKED, "--strategy", "majority", "--remote", server.url)
    assert told(ran)["strategy"] == "majority"
    assert "--remote is not used" in ran.err
    assert server.paths == []


@pytest.mark.parametrize("way", [("--offline",), ("--private", "how +many")])
def test_what_may_not_be_sent_is_answered_here_and_marked(lite: Lite, server: Server, way: tuple[str, ...]) -> None:
    plain = told(lite(*ASKED, "--remote", server.url, *way))
    assert server.paths == []
    candidates = plain["candidates"]
    assert isinstance(candidates, list)
    assert {(one["sampler"], one["reason"]) for one in candidates if one["sampler"] == "remote"} == {
        ("remote", "withheld")
    }
    assert len(plain["failures"]) == 1  # type: ignore[arg-type]
    assert plain["cost"]["remote_calls"] == 0  # type: ignore[index, call-overload]


@pytest.mark.parametrize(
    ("more", "words"),
    [(("--offline",), "offline: nothing is sent"), (("--private", "many"), "privacy"), ((), "remote: ")],
)
def test_without_any_answer_it_fails_and_says_why_in_a_line(lite: Lite, more: tuple[str, ...], words: str) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    for form in ("--json", "--no-stream"):
        ran = lite(*ASKED[:-1], form, "-q", *ALL_REMOTE, "--remote", url, "--remote-model", "m", *more)
        assert ran.code == 1
        assert ran.err.startswith("lite: error: remote: ")
        assert words in ran.err
        assert ran.err.count("\n") == 1
        assert (ran.out != "") == (form == "--json")


def test_a_server_that_fails_leaves_the_local_answer(lite: Lite) -> None:
    ran = lite(*ASKED, "--remote", f"http://127.0.0.1:{free_port()}/v1", "--remote-model", "m")
    plain = told(ran)
    assert "failed" in [one["reason"] for one in plain["candidates"]]  # type: ignore[index, attr-defined]
    assert plain["failures"]


def test_a_step_wise_router_runs_offline_too(lite: Lite, server: Server) -> None:
    for strategy in ("glimp", "reward-guided"):
        assert told(lite(*ASKED, "--strategy", strategy, "--remote", server.url, "--offline"))["failures"]
    assert server.paths == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--strategy", "cascade"), ("--remote URL", "config.toml")),
        (("--remote-model", "m", "--strategy", "cascade"), ("--remote URL",)),
        (("--remote", "example.org"), ("https://host/v1",)),
        (("--remote", "http://127.0.0.1:9/v1", "--remote-price", "3"), ("IN,OUT",)),
        (("--remote", "http://127.0.0.1:9/v1", "--remote-price", "-1,3"), ("prompt_price", "-1")),
        (("--remote", "http://127.0.0.1:9/v1", "--private", "("), ("regular expression",)),
        (("--remote", "http://127.0.0.1:9/v1", "--remote-key-env", "NOT_THERE"), ("NOT_THERE",)),
        (("--remote", "http://127.0.0.1:9/v1", "--remote-key-env", "A", "--remote-key-file", "B"), ("key file B",)),
        (("--max-money", "0"), ("money", "0")),
        (("--thinking-budget", "-5"), ("thinking_budget", "-5")),
        (("--thinking-budget", "5", "--no-think"), ("think",)),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(lite: Lite, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    ran = lite(*ASKED, *arguments)
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert all(word in ran.err for word in words), ran.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[remote", ("cannot be read",)),
        ("remote = 1", ("[remote]",)),
        ("[remote]\nurll = 'x'", ("'urll'", "'url'")),
        ("[remote]\nurl = 3", ("url", "3")),
        ("[remote]\nretries = true", ("retries", "True")),
        ("[remote]\nretries = '3'", ("retries", "'3'")),
        ("[remote]\nconcurrency = 1.5", ("concurrency", "1.5")),
        ("[remote]\napi = 'responses'", ("api", "'responses'")),
        ("[remote]\nprivate = 'all'", ("private", "'all'")),
        ("[remote]\nprivate_action = 'shout'\nurl = 'http://127.0.0.1:9/v1'", ("withhold", "shout")),
        ("[remote]\nthink_tags = ['a']", ("think_tags",)),
        ("[remote]\ncan = ['fly']\nurl = 'http://127.0.0.1:9/v1'", ("can", "fly")),
        ("[remote]\nkey = 'secret-key'", ("key_file", "key_env")),
    ],
)
def test_damaged_settings_are_refused_in_a_line(lite: Lite, settings: Path, text: str, words: tuple[str, ...]) -> None:
    settings.write_text(text, "utf-8")
    ran = lite(*ASKED, "--strategy", "cascade")
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert all(word in ran.err for word in words), ran.err
    assert "secret-key" not in ran.err


def test_settings_of_every_kind_are_taken(lite: Lite, settings: Path, server: Server) -> None:
    text = f"""[remote]
        url = "{server.url}"
        api = "chat"
        batch_samples = false
        hedge_seconds = 30
        private = ["project heron"]
        private_action = "mask"
        think_tags = ["<think>", "</think>"]
        can = ["prefix"]
        prefix_style = "assistant"
    """
    settings.write_text(text, "utf-8")
    ran = lite("run", "What is Project Heron?", *ASKED[2:], *ALL_REMOTE)
    assert told(ran)["value"] == "42"
    assert "[private 1]" in server.bodies[-1]["messages"][0]["content"]


def test_a_thinking_budget_and_auto_samples_reach_the_strategy(lite: Lite, tmp_path: Path) -> None:
    opens = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    thinks = write_gguf(tmp_path / "thinks.gguf", chat_template=opens)
    bounded = told(lite(*ASKED, "-m", thinks, "--thinking-budget", "4"))
    assert bounded["strategy"] == "self-certainty"
    assert all("</think>" in one["text"] for one in bounded["candidates"])  # type: ignore[index, attr-defined]
    none = [told(lite(*ASKED, *way))["candidates"] for way in (("--thinking-budget", "0"), ("--no-think",))]
    assert none[0] == none[1]
    auto = told(lite(*ASKED, "--samples", "auto"))
    assert len(auto["candidates"]) >= 4  # type: ignore[arg-type]
    assert lite(*ASKED, "--samples", "many").code == 2

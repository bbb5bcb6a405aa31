"""`lite pull`: what a person and a script are told, and that the model can be run afterwards."""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("httpx", reason="the extra hub")
pytest.importorskip("filelock", reason="the extra hub")

from lite.library import resolve
from tests.cli.conftest import Lite
from tests.cli.test_processes import started
from tests.http_servers import Reply, free_port
from tests.hub_server import FakeHub, send
from tests.model_stores import at_home, header

SMALL, LARGE = "n-Q4_K_M.gguf", "n-Q8_0.gguf"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    at_home(monkeypatch, tmp_path)
    return tmp_path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with FakeHub({LARGE: header(size=3_000_000), SMALL: header(size=2_000_000), "README.md": b"#"}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, a socket that is opened fails the test."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    def begin() -> None:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_port()}")
        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)

    return begin


def test_what_was_pulled_runs_by_its_name_without_a_network(
    lite: Lite, hub: FakeHub, small_model: Path, no_network: Callable[[], None]
) -> None:
    hub.files = {"small-Q8_0.gguf": small_model.read_bytes()}
    pulled = lite("pull", "hf:o/n")
    assert (pulled.code, pulled.out) == (0, "hf:o/n:small-Q8_0.gguf\n")
    assert "checksum compared" in pulled.err
    no_network()
    for name in ("hf:o/n", pulled.out.strip(), "small-q8_0"):
        assert lite("run", "-m", name, "-n", "2", "--samples", "1", "Hello").code == 0
    assert "hf:o/n " in lite("ls").out
    again = lite("pull", "hf:o/n", "--offline", "--json")
    assert json.loads(again.out)["name"] == "hf:o/n"


def test_a_named_file_is_fetched_and_told_as_json(lite: Lite, hub: FakeHub) -> None:
    told = json.loads(lite("pull", "o/n:q8_0", "--json").out)
    assert told["name"] == f"hf:o/n:{LARGE}"
    assert told["files"] == [{"file": LARGE, "bytes": 3_000_000, "digest": hub.etag(LARGE)}]
    assert Path(told["path"]).read_bytes() == hub.files[LARGE]
    assert "already there" in lite("pull", "o/n:q8_0").err


def test_a_script_must_choose_and_sees_the_choice(lite: Lite, hub: FakeHub) -> None:
    ran = lite("pull", "hf:o/n")
    assert (ran.code, ran.out) == (2, "")
    *files, error = ran.err.splitlines()
    assert [line.split(maxsplit=1) for line in files] == [["file", "size"], [SMALL, "1.9 MiB"], [LARGE, "2.9 MiB"]]
    assert error == f"lite: error: o/n has 2 GGUF files: name one, as in hf:o/n:{SMALL}, or --yes to take {SMALL}"
    assert hub.ranges == []
    assert lite("pull", "hf:o/n", "--yes").out == f"hf:o/n:{SMALL}\n"


def test_a_person_is_asked_and_may_leave(lite: Lite, hub: FakeHub) -> None:
    ran = lite("pull", "hf:o/n", terminal=True)
    assert (ran.code, ran.out) == (130, "")
    assert f"Fetch {SMALL}? [Y/n]: " in ran.err
    assert hub.ranges == []


def test_a_repository_outside_the_rule_is_a_question_without_yes(lite: Lite, hub: FakeHub) -> None:
    hub.files = {"a.gguf": header(), "b.gguf": header()}
    ran = lite("pull", "hf:o/n", "-y")
    assert ran.code == 2
    assert ran.err.endswith("o/n has 2 GGUF files: name one, as in hf:o/n:a.gguf\n")
    hub.files = {"model.safetensors": b"x", "sub/config.json": b"{}"}
    assert "o/n has neither a GGUF file nor a folder of safetensors" in lite("pull", "hf:o/n", "-y").err


def test_a_folder_of_weights_is_fetched_where_there_is_no_gguf_file(lite: Lite, hub: FakeHub) -> None:
    config = json.dumps({"architectures": ["Qwen3ForCausalLM"]}).encode()
    wanted = {"config.json": config, "tokenizer.json": b"{}", "model.safetensors": b"x" * 3000}
    hub.files = {**wanted, "README.md": b"#", "onnx/model.onnx": b"y", "model.bin": b"z"}
    hub.small = frozenset({"config.json", "tokenizer.json"})
    told = json.loads(lite("pull", "hf:o/n", "--json").out)
    assert told["name"] == "hf:o/n"
    assert {one["file"]: one["digest"] for one in told["files"]} == {name: hub.etag(name) for name in wanted}
    assert {path.name: path.read_bytes() for path in Path(told["path"]).iterdir()} == wanted
    assert "hf:o/n " in lite("ls").out
    assert resolve("hf:o/n") == Path(told["path"])


def test_a_person_sees_how_far_it_is(lite: Lite, hub: FakeHub) -> None:
    def slow(reply: Reply) -> bool:
        data = hub.files[SMALL]
        reply.head(200, "application/octet-stream", Content_Length=str(len(data)))
        reply.send(data[:1_000_000])
        reply.wait(0.15)
        reply.send(data[1_000_000:])
        return True

    hub.store_faults.append(slow)
    shown = lite("pull", f"hf:o/n:{SMALL}", terminal=True).err
    assert " of 1.9 MiB, " in shown
    assert f"s left: {SMALL}" in shown
    assert shown.rpartition("\r")[2].startswith("lite: 1.9 MiB, checksum compared")


def test_the_help_tells_the_rule_that_is_followed(lite: Lite) -> None:
    from lite.hub.choose import PREFERRED

    assert ", ".join(PREFERRED) in " ".join(lite("pull", "--help").out.split())


def test_quiet_shows_nothing_on_the_way(lite: Lite, hub: FakeHub) -> None:
    assert "%" not in lite("pull", f"hf:o/n:{SMALL}", "--quiet", terminal=True).err


@pytest.mark.parametrize("how", ["--offline", "LITE_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_opens_no_connection(
    lite: Lite, monkeypatch: pytest.MonkeyPatch, no_network: Callable[[], None], how: str
) -> None:
    no_network()
    if not how.startswith("--"):
        monkeypatch.setenv(how, "1")
    ran = lite("pull", "hf:o/n", *([how] if how.startswith("--") else []))
    assert ran.code == 2
    assert ran.err.startswith("lite: error: offline: nothing is fetched, and there is no model 'hf:o/n'")


def test_no_other_verb_opens_a_connection(lite: Lite, no_network: Callable[[], None]) -> None:
    no_network()
    assert lite("ls").code == 0
    ran = lite("run", "-m", "hf:o/n", "Hello")
    assert ran.code == 1
    assert "`lite pull hf:o/n` fetches it" in ran.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hf:o"], "names no repository"),
        (["hf:o/n", "--revision", "../x"], "no branch, tag or commit"),
        (["hf:o/n", "--revision", "nonsense"], "no such branch"),
        (["hf:o/other"], "no model o/other"),
        (["hf:o/n:nonsense"], "has no file 'nonsense'"),
    ],
)
def test_what_cannot_be_is_one_line(lite: Lite, hub: FakeHub, arguments: list[str], words: str) -> None:
    ran = lite("pull", *arguments)
    assert ran.code in (1, 2)
    assert words in ran.err
    assert ran.err.count("\n") == 1


def test_without_the_extra_the_command_that_installs_it_is_named(lite: Lite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lite.hub.client", None)
    assert "pip install 'lite-runtime[hub]'" in lite("pull", "hf:o/n").err


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as POSIX has them")
def test_ctrl_c_leaves_what_has_come_and_says_so(hub: FakeHub, home: Path) -> None:
    def stalls(reply: Reply) -> bool:
        send(reply, hub.files[SMALL], 0, 1_500_000)
        reply.wait(60)
        return True

    hub.store_faults.append(stalls)
    process = started("pull", f"hf:o/n:{SMALL}")
    part = home / ".cache/huggingface/hub/models--o--n/blobs" / f"{hub.etag(SMALL)}.incomplete"
    wait_until(lambda: part.exists() and part.stat().st_size == 1_500_000)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "lite: broken off; the same command goes on from here\n")
    assert part.read_bytes() == hub.files[SMALL][:1_500_000]
    assert started("pull", f"hf:o/n:{SMALL}").communicate(timeout=30)[0] == f"hf:o/n:{SMALL}\n"
    assert hub.ranges == ["", "bytes=1500000-"]


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)

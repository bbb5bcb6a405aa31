"""Files that are in the wrong place or damaged: one line each, and nothing is lost, hung or half read."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from lite.cli.rate import RateLine, is_terminal
from lite.errors import UsageError
from lite.evaluate.items import load_suite
from lite.evaluate.log import LogWriter, check_place, read_log
from lite.evaluate.opened import check_outputs
from lite.evaluate.session import open_log
from tests.cli.conftest import Lite, cache, folders, lite, small_model
from tests.evaluate.report_log import write_log

__all__ = ["cache", "folders", "lite", "small_model"]  # fixtures

DEEP = "[" * 200_000 + "\n"

posix = pytest.mark.skipif(sys.platform == "win32", reason="pipes in the file system are POSIX")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_log(tmp_path / "run.jsonl", questions=2)


def without(path: Path, kind: str, *names: str) -> int:
    """Rename what the names lead to in the file's first line of that kind; the line's number."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    number = next(number for number, line in enumerate(lines) if kind in line)
    at: Any = lines[number]
    for name in names[:-1]:
        at = at[int(name)] if isinstance(at, list) else at[name]
    at["renamed"] = at.pop(names[-1])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return number + 1


@pytest.mark.parametrize("option", ["--out", "--csv", "--png"])
def test_a_report_does_not_overwrite_its_log(lite: Lite, log: Path, tmp_path: Path, option: str) -> None:
    before = log.read_bytes()
    ran = lite("report", log, "--out", tmp_path / "page.html", option, log)
    assert (ran.code, log.read_bytes()) == (2, before)
    assert f"{option} would overwrite" in ran.err
    assert "one of LOGS" in ran.err


def test_a_replay_does_not_write_into_its_log(lite: Lite, log: Path) -> None:
    before = log.read_bytes()
    ran = lite("replay", log, "--select", "majority", "--out", log)
    assert (ran.code, log.read_bytes()) == (2, before)
    assert "--out would overwrite" in ran.err


def test_a_replay_adds_to_its_own_file_and_to_no_other(lite: Lite, log: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("one line without an end")
    ran = lite("replay", log, "--select", "majority", "--out", notes)
    assert (ran.code, notes.read_text()) == (2, "one line without an end")
    assert "holds something else than a log" in ran.err
    with LogWriter(tmp_path / "answers.jsonl") as writer:
        writer.write([{"answer": "majority"}])
    assert lite("replay", log, "--out", tmp_path / "answers.jsonl").code == 0


def test_a_log_under_another_name_is_the_log_still(log: Path, tmp_path: Path) -> None:
    os.link(log, tmp_path / "other.html")
    with pytest.raises(UsageError, match="one of LOGS"):
        check_outputs([log], {"--out": tmp_path / "other.html"})


def test_two_outputs_are_two_files(log: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    with pytest.raises(UsageError, match=r"--csv would overwrite .* the file of --out"):
        check_outputs([log], {"--out": new, "--csv": new, "--png": None})
    check_outputs([log], {"--out": new, "--csv": tmp_path / "new.csv", "--png": None})


@posix
@pytest.mark.parametrize("kind", ["a pipe", "a device"])
def test_no_log_is_read_or_written_where_no_regular_file_is(lite: Lite, log: Path, tmp_path: Path, kind: str) -> None:
    path = Path("/dev/zero")
    if kind == "a pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
    for arguments in (("replay", log, "--out", path), ("replay", path), ("report", path), ("verify", path)):
        ran = lite(*arguments)
        assert ran.code == 2, ran.err
        assert f"{path} is no regular file" in ran.err
    ran = lite("eval", "arithmetic", "--limit", 1, "-m", "small", "--log", path)
    assert ran.code == 2, ran.err
    assert f"{path} is no regular file" in ran.err


@posix
def test_a_device_is_no_task() -> None:
    with pytest.raises(UsageError, match="/dev/zero is a device"):
        load_suite("/dev/zero")


def test_a_log_is_not_put_into_a_folder_that_is_not_there(lite: Lite, tmp_path: Path) -> None:
    path = tmp_path / "nosuch" / "log.jsonl"
    ran = lite("eval", "arithmetic", "--limit", 1, "-m", "small", "--log", path)
    assert ran.code == 2, ran.err
    assert f"there is no folder {path.parent}" in ran.err
    with pytest.raises(UsageError, match="there is no folder"):
        LogWriter(path)
    assert not path.parent.exists()
    check_place(tmp_path / "log.jsonl")


def test_a_file_of_another_kind_is_not_taken_for_a_log_that_was_begun(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("one line without an end")
    with pytest.raises(UsageError, match="is no lite log"):
        open_log(path)
    path.write_text('{"lite_log":1,"ta')
    assert open_log(path) is None
    path.write_text("")
    assert open_log(path) is None


def test_a_shard_and_a_limit_are_checked_before_questions_are_drawn(lite: Lite) -> None:
    ran = lite("eval", "word-problems", "--limit", 99_999_999_999, "--shard", "5/2")
    assert (ran.code, "'5/2' is not I/N" in ran.err) == (2, True)
    ran = lite("eval", "word-problems", "--limit", 99_999_999_999)
    assert (ran.code, "at most 1000000 questions" in ran.err) == (2, True)
    ran = lite("eval", "word-problems", "--shard", f"1/{'9' * 5000}")
    assert (ran.code, "is not I/N" in ran.err) == (2, True)


@pytest.mark.parametrize(
    "names",
    [
        ("answer", "candidates", "0", "tokens"),
        ("answer", "cost"),
        ("answer", "session"),
        ("branch", "texts"),
        ("branch", "request", "sampler"),
        ("question", "hash"),
        ("plan", "samples"),
        ("lite_log", "samplers"),
        ("lite_log", "options", "think"),
    ],
    ids=" ".join,
)
def test_a_line_that_lacks_a_field_is_named(log: Path, names: tuple[str, ...]) -> None:
    number = without(log, *names)
    with pytest.raises(UsageError) as raised:
        read_log([log])
    assert str(raised.value) == f"line {number} of {log} is damaged: it lacks '{names[-1]}'"


def test_no_verb_goes_on_with_a_damaged_log(lite: Lite, log: Path) -> None:
    number = without(log, "answer", "candidates", "0", "tokens")
    for verb in ("report", "replay", "verify"):
        ran = lite(verb, log)
        assert ran.code == 2, ran.err
        assert f"line {number} of {log} is damaged: it lacks 'tokens'" in ran.err


@pytest.mark.parametrize("line", ["[]", '"branch"', '{"branch": 1, "cost": null}', "3"])
def test_a_line_that_is_no_object_is_refused(log: Path, line: str) -> None:
    log.write_text(log.read_text("utf-8") + line + "\n", "utf-8")
    with pytest.raises(UsageError, match="line"):
        read_log([log])


def test_what_is_nested_too_deeply_is_told_in_a_line(lite: Lite, log: Path, tmp_path: Path) -> None:
    deep = tmp_path / "deep.jsonl"
    deep.write_text(DEEP)
    log.write_text(log.read_text("utf-8") + DEEP, "utf-8")
    with pytest.raises(UsageError, match="line 1 is no question"):
        load_suite(str(deep))
    for path in (deep, log):
        for verb in ("replay", "report"):
            ran = lite(verb, path)
            assert ran.code == 2, ran.err
            assert len(ran.err) < 500


def test_a_stream_that_was_closed_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert not is_terminal(sys.stderr)
    rate = RateLine(3, "answers")
    rate.show(1, 10)
    rate.close()

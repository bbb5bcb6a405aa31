"""The report's files: what is in them, what can be in a log, and how large they get."""

import base64
import csv
import json
import math
import re
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from lite.errors import MissingExtra
from lite.evaluate.log import Log, read_log
from lite.evaluate.report.page import page_data, render_page
from lite.evaluate.report.picture import draw_picture, require_matplotlib
from lite.evaluate.report.rows import front_of, rows_of
from lite.evaluate.report.sheet import render_sheet
from lite.evaluate.report.traces import collect_traces
from lite.evaluate.summary import measured, summarise
from tests.cli.conftest import Lite, cache, folders, lite, small_model  # noqa: F401
from tests.evaluate.report_log import HOSTILE, LABELS, write_log


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return read_log([write_log(tmp_path / "run.jsonl")])


def render(log: Log, title: str = "Made up") -> str:
    summary, took = summarise(log), measured(log)
    rows = rows_of(summary, took)
    traces = collect_traces(log, [row.strategy for row in rows])
    return render_page(page_data(log, summary, took, rows, traces, title))


class Elements(HTMLParser):
    """The page as a browser's parser cuts it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script" and data.strip():
            self.scripts.append(data)


def embedded(page: str) -> Any:
    return json.loads(Elements(page).scripts[0])


def unpacked(text: str) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(text)))


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([(1, 0.5), (2, 0.6), (3, 0.55), (4, 0.7)], {0, 1, 3}),
        ([(1, 0.5), (1, 0.6)], {1}),
        ([(1, 0.5), (1, 0.5), (2, 0.5)], {0}),
        ([], set()),
    ],
)
def test_the_front_holds_what_nothing_beats(points: list[tuple[float, float]], front: set[int]) -> None:
    assert front_of(points) == front


def test_rows_compare_with_the_baseline(log: Log) -> None:
    rows = {row.strategy: row for row in rows_of(summarise(log), measured(log))}
    assert list(rows) == list(LABELS)
    assert rows["greedy"].baseline is None
    row = rows["cascade"]
    assert row.baseline == "greedy"
    assert row.difference == pytest.approx(row.accuracy - rows["greedy"].accuracy)
    assert row.difference_low is not None
    assert row.difference_high is not None
    assert row.difference_low <= row.difference <= row.difference_high


def test_the_page_is_one_file_that_needs_no_other(log: Log) -> None:
    page = render(log)
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:|//|\.)""", page)
    assert "@import" not in page
    assert "fetch(" not in page
    used = {name for tag, attributes in Elements(page).tags for name in attributes if tag in ("script", "link", "img")}
    assert not used & {"src", "href"}
    assert "default-src 'none'" in page


def test_what_a_log_holds_never_becomes_markup(log: Log) -> None:
    elements = Elements(render(log, title=HOSTILE))
    tags = [tag for tag, _ in elements.tags]
    assert tags.count("script") == 2
    assert "img" not in tags
    assert not any(name.startswith("on") for _, attributes in elements.tags for name in attributes)
    data = json.loads(elements.scripts[0])
    assert data["title"] == HOSTILE
    assert data["rows"][4]["strategy"] == LABELS[4]


def test_the_same_log_gives_the_same_bytes(log: Log) -> None:
    assert render(log) == render(log)


def test_a_trace_holds_the_samples_with_their_statistics(log: Log) -> None:
    trace = unpacked(embedded(render(log))["traces"]["1"])
    branches = trace["branches"]
    assert {branch.get("sampler", "local") for branch in branches} == {"local", "large"}
    fork = next(branch for branch in branches if "parent" in branch)
    assert (fork["at"], fork["prefix"], branches[fork["parent"]]["sample"]) == (5, "So the answer is <b>", 0)
    line = next(line for line in log.lines("1") if line["branch"] == "1-majority-local-0")
    own = branches[fork["parent"]]
    assert own["texts"] == line["texts"]
    scale, power = trace["scales"]["entropy"]
    levels = base64.b64decode(own["entropy"])
    assert [(level / 255) ** power * scale for level in levels] == pytest.approx(
        [0.5 + 0.5 * math.sin(i) for i in range(len(levels))], abs=0.01
    )
    stopped = next(one for one in trace["answers"] if LABELS[one["strategy"]].startswith("stops"))
    assert [one[5] for one in stopped["candidates"][:2]] == [12, 13]


def test_a_long_sample_loses_its_middle_and_says_so(tmp_path: Path) -> None:
    log = read_log([write_log(tmp_path / "long.jsonl", questions=1, tokens=5000)])
    trace = unpacked(collect_traces(log, LABELS).packed["0"])
    sample = next(branch for branch in trace["branches"] if branch["tokens"] > 4000)
    assert len(sample["texts"]) == len(base64.b64decode(sample["certainty"])) == 3000
    assert sample["texts"][0] == " word0"


def test_traces_are_capped_and_the_telling_questions_come_first(log: Log) -> None:
    everything = collect_traces(log, LABELS)
    assert list(everything.packed) == list(log.items)
    most = sum(map(len, everything.packed.values())) // 2
    capped = collect_traces(log, LABELS, most_bytes=most)
    assert 0 < len(capped.packed) < capped.total == len(log.items)
    assert sum(map(len, capped.packed.values())) <= most
    few = collect_traces(log, LABELS, most_questions=2)
    marks = [{log.answers[name, label]["right"] for label in LABELS} for name in few.packed]
    assert all(len(mark) == 2 for mark in marks)


def test_the_traces_of_a_large_run_are_small(tmp_path: Path) -> None:
    """500 questions of 16 samples take less than 8 MB: a question of 16 samples of 100 tokens, less than 16 kB."""
    log = read_log([write_log(tmp_path / "run.jsonl", questions=2, samples=16, tokens=100)])
    assert max(map(len, collect_traces(log, LABELS).packed.values())) < 16_000


def test_the_sheet_has_a_line_a_strategy(log: Log) -> None:
    rows = rows_of(summarise(log), measured(log))
    lines = list(csv.DictReader(render_sheet(rows).splitlines()))
    assert [line["strategy"] for line in lines] == list(LABELS)
    assert float(lines[1]["accuracy"]) == rows[1].accuracy
    assert lines[0]["p_value"] == ""


def test_a_picture_is_drawn_by_matplotlib(log: Log, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    summary = summarise(log)
    draw_picture(tmp_path / "a.png", rows_of(summary, measured(log)), summary["curves"], "$ made _ up")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"lite-runtime\[eval\]"):
        require_matplotlib()


def test_a_log_without_answers_gives_a_page_that_says_so(tmp_path: Path) -> None:
    path = write_log(tmp_path / "run.jsonl", questions=0)
    assert embedded(render(read_log([path])))["rows"] == []


def test_the_verb_writes_the_files_and_names_them(lite: Lite, tmp_path: Path) -> None:  # noqa: F811
    path = write_log(tmp_path / "run.jsonl")
    ran = lite("report", path, "-o", tmp_path / "a.html", "--csv", tmp_path / "a.csv", "--title", "Ours")
    assert ran.code == 0, ran.err
    assert ran.out.split() == [str(tmp_path / "a.html"), str(tmp_path / "a.csv")]
    assert "<title>Ours</title>" in (tmp_path / "a.html").read_text("utf-8")


def test_the_verb_refuses_what_is_no_log(lite: Lite, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "a.jsonl").write_text("no log\n")
    ran = lite("report", tmp_path / "a.jsonl")
    assert ran.code == 2
    assert ran.err.count("\n") == 1

"""An evaluation may be stopped, continued, split and merged: what it says stays the same to the last byte."""

import json
from pathlib import Path

import pytest

from lite.backends.scripted import ScriptedSampler
from lite.errors import BackendError, UsageError
from lite.evaluate.items import Item, Suite, shard_of
from lite.evaluate.log import Log, LogWriter, read_log
from lite.evaluate.summary import measured, summarise
from lite.params import SamplingParams
from tests.evaluate.scripted import OPTIONS, draw, entries, suite

CHOSEN = entries("greedy", "majority", "self-certainty", "first-finish", "es-cot", "nothinking")


def summary(log: Log) -> str:
    return json.dumps(summarise(log, [entry.label for entry in CHOSEN]))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return draw(tmp_path_factory.mktemp("log") / "whole.jsonl", CHOSEN)


@pytest.mark.parametrize("stop_after", [1, 3, 8])
def test_a_run_that_was_stopped_goes_on_and_sums_up_to_the_same_bytes(
    whole: Log, tmp_path: Path, stop_after: int
) -> None:
    path = tmp_path / "log.jsonl"
    sampler = ScriptedSampler(chunk_size=3, ragged=True, num_slots=5, arrival_seed=stop_after)
    half = draw(path, CHOSEN, sampler=sampler, stop_after=stop_after)
    assert 0 < len(half.answers) < len(whole.answers)
    assert summary(draw(path, CHOSEN)) == summary(whole)


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
def test_a_log_torn_in_the_middle_of_a_line_loses_that_line_alone(whole: Log, tmp_path: Path, kept: float) -> None:
    path = tmp_path / "log.jsonl"
    draw(path, CHOSEN)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert summary(draw(path, CHOSEN)) == summary(whole)


def test_a_finished_log_is_left_as_it_is_but_for_its_plan(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    draw(path, CHOSEN)
    before = path.read_bytes()
    draw(path, CHOSEN)
    assert path.read_bytes().removeprefix(before).count(b"\n") == 1


def test_four_shards_are_one_run(whole: Log, tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.jsonl" for i in range(4)]
    for i, path in enumerate(paths):
        draw(path, CHOSEN, items=shard_of(suite().items, (i, 4)), num_slots=3 + i)
    assert summary(read_log(paths)) == summary(whole)
    assert summary(read_log(paths[::-1])) == summary(whole)


def test_strategies_and_questions_can_be_added_later(whole: Log, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    draw(path, CHOSEN[:2], items=suite().items[:2])
    draw(path, CHOSEN, items=suite().items[:3])
    assert summary(draw(path, CHOSEN)) == summary(whole)


def test_samples_are_logged_once_with_all_that_was_drawn(whole: Log) -> None:
    for name in whole.items:
        lines = list(whole.shelf(name)._places.values())
        assert len({place.offset for place in lines}) == len(lines)
        branches = [place.read() for place in lines]
        drawn_by = {line["strategy"] for line in branches}
        assert "self-certainty" not in drawn_by, "majority has drawn the same samples"
        for line in branches:
            assert len(line["ids"]) == len(line["texts"])
            assert line["logprobs"].startswith(("f4:", "f8:"))
            assert line["seed"] == 0


def test_each_strategy_is_charged_what_it_would_cost_alone(whole: Log, tmp_path: Path) -> None:
    for entry in CHOSEN:
        alone = draw(tmp_path / f"{entry.label}.jsonl", [entry], num_slots=2)
        for name in whole.items:
            assert alone.answers[name, entry.label]["cost"] == whole.answers[name, entry.label]["cost"]


def test_a_question_that_fails_is_an_answer_that_is_wrong(tmp_path: Path) -> None:
    asked = Suite(name="long", items=(Item(id="0", question="word " * 50, answer="1"), suite().items[1]))
    log = draw(tmp_path / "log.jsonl", CHOSEN[:1], sampler=ScriptedSampler(context_length=45), asked=asked)
    line = log.answers["0", "greedy"]
    assert "context" in line["error"]
    assert (line["value"], line["right"]) == (None, False)
    assert summarise(log)["strategies"][0]["errors"] == 1


def test_an_engine_that_fails_stops_the_run_and_what_is_done_stays(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with pytest.raises(BackendError):
        draw(path, CHOSEN[:2], sampler=ScriptedSampler(fail_at_step=30), num_slots=2)
    done = read_log([path])
    assert done.answers
    draw(path, CHOSEN[:2])


def test_another_model_or_other_settings_do_not_go_on_with_a_log(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    draw(path, CHOSEN[:1])
    with pytest.raises(UsageError, match="another options"):
        draw(path, CHOSEN[:1], options={**OPTIONS, "params": SamplingParams(max_tokens=41)})
    with pytest.raises(UsageError, match="another task"):
        draw(path, CHOSEN[:1], asked=Suite(name="other", items=suite().items))
    changed = Suite(name="counting", items=(Item(id="0", question="Else?", answer="1"),))
    with pytest.raises(UsageError, match="question 0 is not the one"):
        draw(path, CHOSEN[:1], asked=changed)


def test_two_questions_of_the_same_words_have_their_own_lines(tmp_path: Path) -> None:
    twins = Suite(name="twins", items=tuple(Item(id=str(i), question="Same?", answer="1", index=i) for i in range(2)))
    log = draw(tmp_path / "log.jsonl", CHOSEN, asked=twins)
    assert set(log.places("0")) == set(log.places("1"))


def test_what_differs_from_run_to_run_is_told_apart(whole: Log) -> None:
    took = measured(whole)
    assert took["seconds"] > 0
    assert took["sampled_tokens"] > 0
    assert set(took["seconds_to_answer"]) == {entry.label for entry in CHOSEN}
    assert "seconds" not in summary(whole)


def test_two_processes_do_not_write_one_log(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path = tmp_path / "log.jsonl"
    with LogWriter(path), pytest.raises(UsageError, match="another process is writing"):
        LogWriter(path)
    LogWriter(path).close()


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"question": "?"}\n')
    with pytest.raises(UsageError, match="line 1 is not of a lite log"):
        read_log([path])
    path.write_text("")
    with pytest.raises(UsageError, match="empty"):
        read_log([path])

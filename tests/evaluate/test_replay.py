"""Replay is the live strategy on recorded samples: the same answer, the same account; else a refusal that says why."""

import json
from pathlib import Path
from typing import Any

import pytest

from lite.backends.scripted import ScriptedSampler
from lite.errors import UsageError
from lite.evaluate.checking import Checker
from lite.evaluate.foreign import convert, is_lite_log
from lite.evaluate.log import Log, read_log
from lite.evaluate.replay import add_replayed, options_of, replay
from lite.evaluate.summary import summarise
from lite.options import Options
from lite.strategies import STRATEGIES
from tests.evaluate.scripted import OPTIONS, draw, entries

LOCAL = [name for name, kind in STRATEGIES.items() if set(kind().needs) <= {"local"}]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    path = tmp_path_factory.mktemp("log") / "all.jsonl"
    return draw(path, entries(*LOCAL), sampler=ScriptedSampler(chunk_size=5, ragged=True, num_slots=9))


def replayed(log: Log, *specs: str, options: Options = OPTIONS) -> list[dict[str, Any]]:
    return list(replay(log, entries(*specs, options=options), Checker(use_math_verify=False)))


@pytest.mark.parametrize("name", LOCAL)
def test_a_replay_is_the_live_answer_and_its_account(log: Log, name: str) -> None:
    for line in replayed(log, name):
        live = log.answers[line["question"], name]
        assert {key: live[key] for key in line} == line


def test_rules_that_were_not_drawn_are_those_that_a_live_run_gives(log: Log, tmp_path: Path) -> None:
    specs = ("majority:samples=4", "self-certainty:power=1.5", "majority:max_tokens=9", "first-finish:samples=3")
    live = draw(tmp_path / "live.jsonl", entries(*specs))
    for line in replayed(log, *specs):
        there = live.answers[line["question"], line["answer"]]
        assert {key: there[key] for key in line if key != "candidates"} == {
            key: value for key, value in line.items() if key != "candidates"
        }


def test_a_token_budget_falls_at_the_same_token(tmp_path: Path) -> None:
    from lite.budget import Budget

    options: Options = {**OPTIONS, "budget": Budget(tokens=30)}
    live = draw(tmp_path / "live.jsonl", entries("majority", "short-m"), options=options)
    for line in replayed(live, "majority", "short-m"):
        there = live.answers[line["question"], line["answer"]]
        assert {key: there[key] for key in line} == line
        assert line["cost"]["drawn_tokens"] <= 30


def test_the_settings_of_a_log_are_read_back(log: Log) -> None:
    assert options_of(log)["params"] == OPTIONS["params"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("majority:samples=7", "no sample 6"),
        ("majority:temperature=0.3", "temperature 0.3"),
        ("majority:seed=5", "seed 5"),
        ("self-certainty:top_logprobs=2", "no likeliest tokens"),
    ],
)
def test_what_the_log_lacks_is_named(tmp_path: Path, spec: str, words: str) -> None:
    log = draw(tmp_path / "log.jsonl", entries("majority"))
    with pytest.raises(UsageError, match=words) as caught:
        replayed(log, spec)
    assert str(caught.value).startswith(spec)
    assert "\n" not in str(caught.value)


def test_samples_that_were_stopped_early_cannot_be_taken_for_whole_ones(tmp_path: Path) -> None:
    log = draw(tmp_path / "log.jsonl", entries("first-finish"))
    assert replayed(log, "first-finish")
    with pytest.raises(UsageError, match=r"was stopped after \d+ tokens"):
        replayed(log, "majority")


def test_probes_need_a_log_with_probes(tmp_path: Path) -> None:
    log = draw(tmp_path / "log.jsonl", entries("greedy"), sampler=ScriptedSampler(lambda _: " word" * 200))
    with pytest.raises(UsageError, match="dynasor"):
        replayed(log, "dynasor")


def test_replayed_answers_join_the_summary(log: Log) -> None:
    chosen = entries("borda:p=2")
    add_replayed(log, chosen, replayed(log, "borda:p=2"))
    row = summarise(log, ["majority", "borda:p=2"])["strategies"][1]
    assert (row["strategy"], row["questions"]) == ("borda:p=2", 5)


def write(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(json.dumps(line) for line in lines), "utf-8")
    return path


def test_a_foreign_log_is_replayed_as_far_as_it_tells(tmp_path: Path) -> None:
    question = {"question": "How many?", "answer": "4"}
    source = write(
        tmp_path / "foreign.jsonl",
        {**question, "samples": [{"text": "It is 4.", "logprobs": [-0.1, -0.2], "tokens": ["It is", " 4."]}]},
        {**question, "completion": "It is 5.", "logprobs": [-3.0, -2.0, -1.0]},
        {**question, "text": "It is 5.", "logprobs": [-3.0, -2.0, -1.5]},
    )
    assert not is_lite_log(source)
    checker = Checker(use_math_verify=False)
    convert(source, tmp_path / "ours.jsonl", checker)
    log = read_log([tmp_path / "ours.jsonl"])
    options = options_of(log)
    assert options["samples"] == 3
    found = list(replay(log, entries("majority", "mean-logprob", options=options), checker))
    assert [(line["value"], line["right"]) for line in found] == [("5", False), ("4", True)]
    assert found[0]["cost"] == {"drawn_tokens": 8, "branches": 3}
    with pytest.raises(UsageError, match="certainty"):
        list(replay(log, entries("self-certainty", options=options), checker))


def test_a_foreign_log_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.jsonl", {"question": "?", "answer": "1", "samples": [{"logprobs": [1]}]})
    with pytest.raises(UsageError, match="none of text"):
        convert(bad, tmp_path / "ours.jsonl", Checker(use_math_verify=False))
    uneven = write(
        tmp_path / "uneven.jsonl",
        {"question": "?", "answer": "1", "text": "1", "logprobs": [-1.0], "tokens": ["1", "."]},
    )
    with pytest.raises(UsageError, match="2 tokens"):
        convert(uneven, tmp_path / "ours2.jsonl", Checker(use_math_verify=False))

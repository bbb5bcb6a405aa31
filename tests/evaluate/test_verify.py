"""Recorded tokens drawn again: the same on the same engine, near-ties apart on another, and not on another model."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lite.backends.table import Logits, TableBackend, hashed_logits
from lite.backends.table_codec import ByteCodec
from lite.engine import Engine
from lite.errors import Unsupported
from lite.evaluate.log import Log, read_log
from lite.evaluate.parts import Parts, parts_of
from lite.evaluate.verify import NEAR_TIE, Verified, draws_anew, verify
from lite.options import Options
from lite.params import SamplingParams
from tests.cli.conftest import Lite, cache, folders, lite, small_model  # noqa: F401
from tests.evaluate.report_log import write_log
from tests.evaluate.scripted import draw, entries

OPTIONS: Options = {"samples": 4, "params": SamplingParams(max_tokens=24), "think": None, "system": ""}


def words(tokens: Sequence[int]) -> NDArray[np.float32]:
    """Mostly letters, digits and the end, so that texts can be read."""
    raw = hashed_logits(ByteCodec().vocab_size, seed=1, order=6)(tokens)
    raw[128:] -= 30
    raw[ByteCodec.end_id] += 29
    raw[ord("0") : ord("9")] += 3
    return raw


def rounded(size: float) -> Logits:
    """The same model on an engine whose logits differ by about `size`."""
    noise = hashed_logits(ByteCodec().vocab_size, seed=9, scale=size)
    return lambda tokens: words(tokens) + noise(tokens)


def engine(logits: Logits = words, num_slots: int = 3, context_length: int = 256) -> Engine:
    codec = ByteCodec()
    backend = TableBackend(
        logits,
        vocab_size=codec.vocab_size,
        num_slots=num_slots,
        context_length=context_length,
        forbidden=codec.forbidden_ids,
    )
    return Engine(backend, codec)


def parts(logits: Logits = words, **settings: int) -> Parts:
    return parts_of(engine(logits, **settings), "table")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chosen = entries("greedy", "majority", "majority:top_p=0.9", "nothinking", options=OPTIONS)
    path = tmp_path_factory.mktemp("logs") / "run.jsonl"
    draw(path, chosen, sampler=engine(), options=OPTIONS)
    return path


@pytest.fixture
def log(path: Path) -> Log:
    return read_log([path])


def last(results: object) -> Verified:
    *_, result = results  # type: ignore[misc]
    assert isinstance(result, Verified)
    return result


def test_the_same_engine_draws_every_token_again_whatever_its_slots(log: Log) -> None:
    for slots in (1, 3, 16):
        told = last(verify(log, parts(num_slots=slots))).plain()
        assert told["match_rate"] == 1.0
        assert told["branches"] == told["identical_branches"] > 20
        assert told["skipped_branches"] == 0
        assert told["differences"] == []
        assert {drift["most"] for drift in told["drift"].values()} == {0.0}


def test_an_engine_that_rounds_differently_parts_at_near_ties_only(log: Log) -> None:
    told = last(verify(log, parts(rounded(1e-2)))).plain()
    assert 0.97 < told["match_rate"] < 1.0
    assert told["near_ties"] == told["tokens"] - told["matched"]
    assert told["lead_at_differences"]["most"] < NEAR_TIE < told["lead"]["median"]
    assert 0 < told["drift"]["logprob"]["mean"] < 0.03


def test_a_difference_does_not_hide_the_tokens_after_it(log: Log) -> None:
    told = last(verify(log, parts(rounded(1e-2)))).plain()
    assert told["differences"]
    for one in told["differences"]:
        assert one["drawn"] != one["recorded"]
        assert one["recorded_logprob"] < 0


def test_another_model_is_found_out(log: Log) -> None:
    told = last(verify(log, parts(hashed_logits(ByteCodec().vocab_size, seed=5)))).plain()
    assert told["match_rate"] < 0.2
    assert told["lead_at_differences"]["median"] > NEAR_TIE


def test_forks_are_drawn_again_from_their_parents_tokens(tmp_path: Path) -> None:
    chosen = entries("dynasor:every=8", options=OPTIONS)
    log = draw(tmp_path / "forks.jsonl", chosen, sampler=engine(), options=OPTIONS)
    forks = [line for name in log.items for line in log.lines(name) if line["parent"]]
    assert forks
    told = last(verify(log, parts())).plain()
    assert (told["match_rate"], told["skipped_branches"]) == (1.0, 0)


def test_a_remote_servers_tokens_are_scored_by_their_texts(path: Path, tmp_path: Path) -> None:
    remote = tmp_path / "remote.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
    lines[0]["model"]["engine"] = "remote"
    for line in lines:
        if "branch" in line:
            line["ids"] = [-1] * len(line["ids"])
    remote.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    log = read_log([remote])
    assert not draws_anew(log, "local")
    told = last(verify(log, parts())).plain()
    assert told["match_rate"] is None
    assert told["branches"] > 0
    assert told["drift"]["logprob"]["most"] < 1e-5
    assert last(verify(log, parts(rounded(1.0)))).plain()["drift"]["logprob"]["mean"] > 0.1


def test_branches_that_do_not_fit_are_told(log: Log) -> None:
    result = last(verify(log, parts(context_length=60)))
    assert result.skipped > 0
    assert result.plain()["match_rate"] in (None, 1.0)


def test_a_sampler_without_logits_is_refused() -> None:
    from lite.backends.scripted import ScriptedSampler

    with pytest.raises(Unsupported, match="remote server"):
        parts_of(ScriptedSampler(), "scripted")


def test_the_verb_tells_people_and_programs(lite: Lite, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "q.jsonl").write_text('{"question": "one?", "answer": "1"}\n')
    path = tmp_path / "run.jsonl"
    asked = ("-m", "small", "--strategy", "majority", "--samples", "2", "-n", "6", "--log", path, "-q", "--json")
    drawn = lite("eval", tmp_path / "q.jsonl", "--format", "f32", *asked)
    assert drawn.code == 0, drawn.err
    same = lite("verify", path, "-m", "small", "--format", "f32", "--json", "--min-match", "1")
    assert same.code == 0, same.err
    told = json.loads(same.out)
    assert told["match_rate"] == 1.0
    assert told["recorded"]["hash"] == told["verifier"]["hash"]
    other = lite("verify", path, "-m", "small", "--format", "q4")
    assert "verified by" in other.out
    assert "the same token" in other.out


def test_the_verb_refuses_a_log_of_another_model(lite: Lite, tmp_path: Path) -> None:  # noqa: F811
    path = write_log(tmp_path / "run.jsonl", questions=1)
    ran = lite("verify", path, "-m", "small", "--sampler", "none")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "local, large" in ran.err

"""The selection functions against vectors computed with the authors' code."""

from typing import Any

import pytest

from lite.strategies.select.majority import majority
from lite.strategies.select.rpc import rpc
from lite.strategies.select.self_certainty import borda
from lite.strategies.select.shortest_majority import shortest_majority
from lite.strategies.verdict import highest
from tests.strategies.reading import golden


@pytest.mark.parametrize("case", golden("borda_self_certainty"))
def test_borda_votes_as_the_authors_code_does(case: dict[str, Any]) -> None:
    for power, expected in case["borda"].items():
        election = borda(case["conf"], case["answers"], float(power))
        assert election.winner == expected["index"]
        assert election.total == pytest.approx(expected["votes"], rel=1e-12)


@pytest.mark.parametrize("case", golden("borda_self_certainty"))
def test_power_zero_is_the_majority_vote(case: dict[str, Any]) -> None:
    assert borda(case["conf"], case["answers"], 0.0) == majority(case["answers"])


@pytest.mark.parametrize("case", golden("borda_self_certainty"))
def test_the_best_of_n_is_the_authors_too(case: dict[str, Any]) -> None:
    readable = [i for i, answer in enumerate(case["answers"]) if answer is not None]
    assert highest(case["conf"], readable or range(len(case["conf"]))) == case["best_of_n"]["index"]


@pytest.mark.parametrize("case", golden("rpc")["cases"])
def test_rpc_weighs_and_prunes_as_the_authors_code_does(case: dict[str, Any]) -> None:
    answers = case["predict"]
    election = rpc(case["mean_logprob"], answers, case["completion"])
    all_votes = sum(election.totals.values())
    scores = {answers[first]: total / all_votes for first, total in election.totals.items()}
    expected = {answer: score for answer, score, _ in case["clusters"]}
    assert scores == pytest.approx(expected, abs=1e-3)
    assert answers[election.winner] == max(expected, key=expected.__getitem__)


@pytest.mark.parametrize("case", golden("shortest_majority_vote"))
def test_shortest_majority_weighs_as_the_authors_function_does(case: dict[str, Any]) -> None:
    election = shortest_majority(case["lengths"], case["pred"])
    weights = {case["pred"][first]: total for first, total in election.totals.items()}
    assert weights == pytest.approx(dict(case["weights"]), rel=1e-12)
    assert case["pred"][election.winner] == case["best"]

"""DeepConf, against vectors of the authors' code and over scripted traces."""

from dataclasses import replace
from typing import Any

import pytest

from lite.backends.scripted import Script, ScriptedToken
from lite.sampler import Request
from lite.strategies import DeepConf, DeepConfOnline
from lite.strategies.stop.deepconf import (
    bottom_confidence,
    confidence_bar,
    group_confidences,
    token_confidence,
)
from lite.strategies.verdict import elect
from tests.strategies.reading import golden
from tests.strategies.stop.scripts import solved

GOLDEN = golden("deepconf")
CLOSE = {"abs": 1.1e-3}  # the authors round to three places


@pytest.mark.parametrize("case", GOLDEN["token"])
def test_confidences_are_the_authors(case: dict[str, Any]) -> None:
    confidences = [token_confidence(top) for top in case["top_logprobs"]]
    groups = group_confidences(confidences, case["window"])
    assert confidences == pytest.approx(case["confs"], **CLOSE)
    assert groups == pytest.approx(case["group"], **CLOSE)
    assert bottom_confidence(groups, 0) == pytest.approx(case["min_conf"], **CLOSE)
    assert bottom_confidence(groups, 0) == pytest.approx(case["min_window"], **CLOSE)
    assert bottom_confidence(groups, 0.1) == pytest.approx(case["bottom10"], **CLOSE)
    assert bottom_confidence([sum(confidences) / len(confidences)], 1) == pytest.approx(case["mean"], **CLOSE)
    tail = group_confidences(confidences[-8:], 8)
    assert tail == pytest.approx([case["tail8"]], **CLOSE)


def test_the_bar_is_the_authors_percentile() -> None:
    warmup = GOLDEN["threshold"]["warmup_min_confs"]
    assert confidence_bar(warmup, 0.9) == pytest.approx(GOLDEN["threshold"]["high_keep90"], abs=1e-9)
    assert confidence_bar(warmup, 0.1) == pytest.approx(GOLDEN["threshold"]["low_keep10"], abs=1e-9)
    assert confidence_bar(warmup, 1) == min(warmup)
    assert confidence_bar([5.0], 0.5) == 5.0


@pytest.mark.parametrize("case", GOLDEN["votes"])
def test_votes_are_the_authors(case: dict[str, Any]) -> None:
    traces = [trace for trace in case["traces"] if trace["extracted_answer"] is not None]
    answers = [trace["extracted_answer"] for trace in traces]
    means = [sum(trace["confs"]) / len(trace["confs"]) for trace in traces]
    bar = confidence_bar(means, 0.1)
    kept = [mean if mean >= bar else 0.0 for mean in means]
    weights = {"majority": [1.0] * len(traces), "mean_confidence_weighted": means, "top10_tail_filtered": kept}
    for name, votes in weights.items():
        expected = case["results"][name]
        assert answers[elect(answers, votes).winner] == expected["answer"]
        assert sum(vote > 0 for vote in votes) == expected["num_votes"]


def traces(*said: tuple[str, list[float]]) -> Script:
    """Sample i says a text, each token as confident as given; the end of the turn as the sampler pleases."""

    def script(request: Request) -> list[ScriptedToken]:
        text, confidences = said[request.sample]
        words = text.split()
        return [
            ScriptedToken(text=f" {word}", top=((1, -c), (2, -c))) for word, c in zip(words, confidences, strict=True)
        ]

    return script


STEADY = ("a a a a 1", [9.0] * 5)
WEAK = ("a a a a 2", [9.0, 1.0, 1.0, 9.0, 9.0])


def test_the_less_confident_traces_have_no_vote() -> None:
    said = traces(STEADY, WEAK, WEAK, ("hm", [1.0]))
    strategy = DeepConf(samples=4, measure="lowest", window=2, keep=0.3)
    answer = solved(strategy, said)
    assert (answer.value, answer.confidence) == ("1", 1)
    assert [candidate.votes > 0 for candidate in answer.candidates] == [True, False, False, False]
    assert solved(replace(strategy, keep=1.0), traces(STEADY, *[WEAK] * 3)).confidence < 1


@pytest.mark.parametrize("measure", ["mean", "tail", "lowest", "bottom"])
def test_every_measure_bears_traces_without_answer_or_words(measure: Any) -> None:
    assert solved(DeepConf(samples=2, measure=measure), lambda request: "").value is None
    assert solved(DeepConf(samples=1, measure=measure), traces(STEADY)).value == "1"


def test_a_trace_stops_where_its_confidence_breaks_down() -> None:
    said = traces(STEADY, STEADY, ("b 2", [7.0, 7.0]), WEAK, STEADY)
    strategy = DeepConfOnline(samples=5, warmup=3, window=2, keep=1.0, consensus=1.0)
    answer = solved(strategy, said)
    assert [candidate.tokens for candidate in answer.candidates] == [6, 6, 3, 2, 6]
    assert [candidate.value for candidate in answer.candidates] == ["1", "1", "2", None, "1"]
    assert answer.value == "1"


def test_consensus_stops_the_rest() -> None:
    strategy = DeepConfOnline(samples=8, warmup=2, window=2, keep=1.0)
    assert len(solved(strategy, traces(*[STEADY] * 8)).candidates) == 2
    late = ("a a a a a a a a 1", [9.0] * 9)
    said = traces(("a 2", [9.0] * 2), STEADY, late, STEADY, late)
    answer = solved(replace(strategy, consensus=0.6, samples=5), said)
    assert [candidate.tokens for candidate in answer.candidates] == [3, 6, 6, 6, 6]
    assert answer.value == "1"


def test_fewer_samples_than_the_warmup_and_empty_traces_are_no_obstacle() -> None:
    assert solved(DeepConfOnline(samples=1), traces(STEADY)).value == "1"
    assert solved(DeepConfOnline(samples=6), lambda request: "").value is None


@pytest.mark.parametrize("kind", [DeepConf, DeepConfOnline])
@pytest.mark.parametrize("settings", [{"keep": 0}, {"keep": 1.1}, {"window": 0}, {"top": 0}, {"samples": 0}])
def test_settings_out_of_range_are_refused(kind: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        kind(**settings)


@pytest.mark.parametrize("settings", [{"warmup": 0}, {"consensus": 0}])
def test_online_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        DeepConfOnline(**settings)

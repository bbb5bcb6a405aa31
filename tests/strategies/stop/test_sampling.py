"""Strategies that draw samples only while they are needed, and fractured sampling."""

import math
from dataclasses import replace
from typing import Any

import pytest

from lite.backends.scripted import ScriptedSampler
from lite.params import SamplingParams
from lite.runner import run
from lite.sampler import Question, Request
from lite.strategies import AdaptiveConsistency, ConfidenceSampling, Fractured, MiniN
from lite.strategies.stop.fractured import depths_of
from tests.strategies.stop.scripts import ASKED, THINKING, samples, solved, tokens


@pytest.mark.parametrize("rule", ["beta", "dirichlet"])
def test_sampling_stops_when_the_leader_will_very_probably_stay(rule: Any) -> None:
    strategy = AdaptiveConsistency(samples=12, wave=1, rule=rule)
    assert len(solved(strategy, samples(*["1"] * 12)).candidates) == 4  # 1 - 1 / 32 > 0.95
    assert len(solved(strategy, samples("2", *["1"] * 11)).candidates) == 7
    assert len(solved(strategy, samples(*["1", "2"] * 6)).candidates) == 12
    assert len(solved(strategy, samples(*["", "hm"] * 6)).candidates) == 12
    assert len(solved(replace(strategy, wave=3), samples(*["1"] * 12)).candidates) == 6


class Judge(ScriptedSampler):
    """Scores " Yes" and " No" after a sample as it is told to: the last word of the prefix decides."""

    def __init__(self, said: list[tuple[str, float]], **arrival: Any) -> None:
        super().__init__(lambda request: said[request.sample][0] if request.parent is None else "", **arrival)
        self._said = said

    def step(self, *, wait: bool) -> Any:
        return [self._judged(event) for event in super().step(wait=wait)]

    def _judged(self, event: Any) -> Any:
        if getattr(event, "start", 0) >= 0:
            return event
        p = self._said[event.request.parent.sample][1]
        odds = p / (1 - p) if event.request.prefix.endswith("Yes") else 1.0
        return replace(event, logprobs=(-1.5,) * (len(event.ids) - 1) + (math.log(odds),))


def judged(strategy: ConfidenceSampling, *said: tuple[str, float]) -> Any:
    plain, ragged = (
        run(strategy, [Question(prompt="?")], {"local": Judge([*said], **arrival)})[0]
        for arrival in ({}, {"chunk_size": 4, "ragged": True, "num_slots": 1})
    )
    assert (plain.value, len(plain.candidates)) == (ragged.value, len(ragged.candidates))
    return plain


def test_one_confident_sample_is_enough() -> None:
    said = [("1", 0.3), ("2", 0.5), ("hm", 0.95), ("3", 0.85), ("4", 0.9)]
    answer = judged(ConfidenceSampling(samples=5, wave=2), *said)
    assert (answer.value, len(answer.candidates)) == ("3", 4)
    assert answer.candidates[0].score == pytest.approx(0.3)


def test_where_none_is_confident_the_best_is_taken_not_the_last() -> None:
    assert judged(ConfidenceSampling(samples=3, wave=1), ("1", 0.3), ("2", 0.5), ("3", 0.4)).value == "2"


def test_a_vote_by_confidence_stops_when_the_leader_has_enough() -> None:
    strategy = ConfidenceSampling(samples=4, wave=1, rule="vote", threshold=0.7)
    answer = judged(strategy, ("1", 0.2), ("2", 0.6), ("3", 0.9), ("4", 0.9))
    assert (answer.value, len(answer.candidates)) == ("2", 2)
    assert answer.confidence == pytest.approx(0.75)


def test_the_samples_own_probability_may_stand_in_for_the_question() -> None:
    strategy = ConfidenceSampling(samples=2, wave=1, measure="probability")
    answer = solved(strategy, samples(tokens("1", logprob=-0.05), tokens("2", logprob=0.0)))
    assert answer.value in ("1", "2")
    assert "score" not in strategy.needs["local"]
    assert solved(strategy, samples("", "")).value is None


def test_mini_n_draws_in_loops_until_a_sample_is_acceptable() -> None:
    said = samples(*(tokens(f"{i}", certainty=float(i)) for i in range(8)))
    strategy = MiniN(samples=8, loop=2, measure="certainty", acceptable=float("-inf"))
    assert len(solved(strategy, said).candidates) == 2
    assert len(solved(replace(strategy, acceptable=100.0), said).candidates) == 8
    assert solved(replace(strategy, acceptable=100.0, otherwise="abstain"), said).value is None
    assert len(solved(strategy, samples(*["hm"] * 8)).candidates) == 8


def test_thoughts_are_cut_at_even_depths() -> None:
    assert depths_of(10, 4) == [2, 5, 8, 10]
    assert depths_of(2, 4) == [1, 2]
    assert depths_of(0, 4) == []


def test_solutions_are_drawn_from_partial_thoughts_and_vote() -> None:
    def script(request: Request) -> str:
        if request.parent is None:
            return "<think> a b c d e f g</think> It is 9."
        return f" {5 if request.at < 8 else 6}."

    strategy = Fractured(samples=1, depths=4, solutions=2)
    answer = solved(strategy, script, prompt=ASKED, traits=THINKING)
    assert [c.value for c in answer.candidates] == ["5"] * 6 + ["6", "9"]
    assert answer.candidates[0].text == "<think> a\n</think>\n\nThe answer is 5."
    assert answer.candidates[6].text.endswith("g</think>\n\nThe answer is 6.")
    assert (answer.value, answer.confidence) == ("5", 0.75)


def test_fractured_sampling_works_without_tags_and_without_words() -> None:
    def script(request: Request) -> str:
        return "a b c 9" if request.parent is None else " 5."

    answer = solved(Fractured(samples=2, depths=2), script)
    assert [c.text for c in answer.candidates] == ["a b The answer is 5.", "a b c 9"] * 2
    assert solved(Fractured(samples=2), lambda request: "").value is None
    cut = Fractured(samples=1, depths=2, params=SamplingParams(max_tokens=2))
    assert [c.text for c in solved(cut, script).candidates] == ["a The answer is 5.", "a b The answer is 5.", "a b"]


@pytest.mark.parametrize(
    ("strategy", "settings"),
    [
        (AdaptiveConsistency(), {"threshold": 0.4}),
        (AdaptiveConsistency(), {"wave": 0}),
        (ConfidenceSampling(), {"threshold": 2}),
        (ConfidenceSampling(), {"wave": 0}),
        (ConfidenceSampling(), {"yes": ""}),
        (MiniN(), {"loop": 0}),
        (Fractured(), {"depths": 0}),
        (Fractured(), {"solutions": 0}),
    ],
)
def test_settings_out_of_range_are_refused(strategy: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        replace(strategy, **settings)

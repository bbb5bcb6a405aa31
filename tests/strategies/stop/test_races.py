"""Strategies that stop a batch: first finish, short-m, vote-aware stopping, speculative rejection."""

from dataclasses import replace
from typing import Any

import pytest

from lite.backends.scripted import ScriptedSampler, lineage, made_up
from lite.params import SamplingParams
from lite.runner import run
from lite.sampler import Answer, Question, Request, Strategy
from lite.strategies import FirstFinish, Majority, Perplexity, SelfCertainty, ShortM, SpeculativeRejection, VoteAware
from lite.strategies.stop.speculative_rejection import survivors
from tests.strategies.stop.scripts import ASKED, THINKING, samples, solved, tokens


def drawn(answer: Answer) -> list[int]:
    return [candidate.tokens for candidate in answer.candidates]


def test_the_first_to_finish_is_the_shortest_then_the_lowest_number() -> None:
    answer = solved(FirstFinish(samples=4), samples("a a a a 1", "a a 2", "a a 3", "a a a 4"))
    assert answer.value == "2"
    assert drawn(answer) == [4, 4, 4, 4]
    assert [candidate.value for candidate in answer.candidates] == [None, "2", None, None]


def test_what_is_empty_or_cut_short_has_not_finished() -> None:
    strategy = FirstFinish(samples=3, params=SamplingParams(max_tokens=4))
    assert solved(strategy, samples("", "1 2 3 4 5", "a 7")).value == "7"
    assert solved(strategy, samples("", "a a a 4 5", "b b b 6 7")).value == "4"
    assert solved(strategy, samples("", "", "")).value is None


def test_short_m_lets_the_shortest_thoughts_answer_and_vote() -> None:
    said = samples(
        "<think> a b c d</think> It is surely 1.",
        "<think> a</think> It is 2.",
        "<think> a b</think> It is rather long to say but it is 3.",
        "<think> a b c</think> It is 2.",
        "<think> a b c d e f g h i j k l m n o p</think> 1",
    )
    answer = solved(ShortM(samples=5, voters=2), said, prompt=ASKED, traits=THINKING)
    assert (answer.value, answer.confidence) == ("2", 0.5)  # a tie goes to the shortest thought
    assert drawn(answer) == [3, 6, 14, 3, 3]
    assert solved(ShortM(samples=5), said, prompt=ASKED, traits=THINKING).confidence == pytest.approx(2 / 3)


def test_short_m_leaves_out_a_thought_that_is_cut_and_takes_an_answer_without_one() -> None:
    strategy = ShortM(samples=3, voters=2, params=SamplingParams(max_tokens=6))
    said = samples("<think> The answer is 5 or 6 or 7", "The answer is 8.", "<think></think> 9")
    answer = solved(strategy, said, prompt=ASKED, traits=THINKING)
    assert [candidate.value for candidate in answer.candidates] == [None, "8", "9"]
    assert solved(ShortM(samples=2, voters=1), samples("a b 5", "a 6")).value == "6"


def test_a_vote_stops_when_the_leader_cannot_be_overtaken() -> None:
    said = samples("a 1", "a a 1", "a a a 1", "a a a a 2", "a a a a a a a a 3")
    answer = solved(VoteAware(samples=5, wave=5), said)
    assert (answer.value, answer.confidence) == ("1", 1)
    assert drawn(answer) == [3, 4, 5, 5, 5]


def test_a_wave_is_as_few_as_could_settle_the_vote() -> None:
    assert len(solved(VoteAware(samples=5), samples(*"11111")).candidates) == 3
    assert len(solved(VoteAware(samples=6), samples(*"111111")).candidates) == 3  # a tie goes to sample 0
    assert len(solved(VoteAware(samples=6), samples(*"211111")).candidates) == 5  # so here 1 needs four
    assert len(solved(VoteAware(samples=5), samples(*"12345")).candidates) == 5


def test_waves_begin_no_more_than_is_needed() -> None:
    said = samples(*["a 1"] * 5, *["a 2"] * 3)
    assert drawn(solved(VoteAware(samples=8, wave=2), said)) == [3] * 4
    assert drawn(solved(VoteAware(samples=8, wave=3), said)) == [3] * 4 + [3] * 2
    assert solved(VoteAware(samples=8, wave=2), said).confidence == 1


def test_a_stated_error_stops_earlier_and_only_where_a_wave_has_ended() -> None:
    said = samples(*["a a a a 1"] * 16)
    assert len(solved(VoteAware(error=0.05), said).candidates) == 3
    assert len(solved(VoteAware(error=0.001), said).candidates) == 6
    assert len(solved(VoteAware(error=0.05, wave=4), said).candidates) == 4
    assert len(solved(VoteAware(error=0.05, wave=1), samples(*["1"] * 16)).candidates) < 5
    mixed = samples(*["1", "2"] * 8)
    assert len(solved(VoteAware(error=0.05), mixed).candidates) == 15  # 8 to 7, and a tie goes to sample 0


def test_a_certain_token_to_come_bounds_what_an_open_sample_can_weigh() -> None:
    params = SamplingParams(max_tokens=10)
    unsure = tokens(*[" b"] * 8, " 2", logprob=-30.0)
    said = samples(tokens("a", " 1", logprob=-1.0), unsure)
    answer = solved(VoteAware(samples=2, vote="probability", params=params), said)
    assert answer.value == "1"
    assert drawn(answer) == [3, 3]
    likely = tokens(*[" b"] * 8, " 2", logprob=0.0)
    patient = VoteAware(samples=2, vote="probability", params=params)
    assert solved(patient, samples(tokens("a", " 1", logprob=-1.0), likely)).value == "2"


@pytest.mark.parametrize(
    ("vote", "whole"),
    [
        ("majority", Majority(samples=7)),
        ("borda", SelfCertainty(samples=7)),
        ("borda", SelfCertainty(samples=7, power=2)),
        ("probability", Perplexity(samples=7, rule="vote")),
    ],
)
@pytest.mark.parametrize("wave", [None, 3])
def test_the_exact_bound_never_changes_the_winner(vote: Any, whole: Strategy, wave: int | None) -> None:
    def script(request: Request) -> str:
        return "" if lineage(request)[0] < 20 else made_up(request)

    early = VoteAware(samples=7, vote=vote, power=getattr(whole, "power", None), wave=wave)
    questions = [Question(prompt=f"question {i}") for i in range(60)]
    stopped = run(early, questions, {"local": ScriptedSampler(script)})
    full = run(whole, questions, {"local": ScriptedSampler(script)})
    assert [answer.value for answer in stopped] == [answer.value for answer in full]
    assert sum(a.cost.drawn_tokens for a in stopped) < sum(a.cost.drawn_tokens for a in full)


def test_the_least_promising_are_rejected_at_each_checkpoint() -> None:
    said = samples(*(tokens(*[" a"] * 19, f" {i}", certainty=float(i)) for i in (3, 1, 9, 2)))
    strategy = SpeculativeRejection(samples=4, first=4)
    answer = solved(strategy, said)
    assert answer.value == "9"
    assert drawn(answer) == [8, 4, 21, 4]
    assert [candidate.score is None for candidate in answer.candidates] == [True, True, False, True]


def test_what_has_ended_competes_too() -> None:
    said = samples(tokens(" 1", certainty=1.0), tokens(*[" a"] * 9, " 2", certainty=5.0), tokens(" 3", certainty=4.0))
    assert drawn(solved(SpeculativeRejection(samples=3, first=4, alpha=0.6), said)) == [2, 11, 2]
    assert solved(SpeculativeRejection(samples=3, first=50), said).value == "2"
    assert solved(SpeculativeRejection(samples=2, first=1), samples("", "")).value is None


def test_survivors_are_the_best_and_at_least_one() -> None:
    assert survivors({0: 1.0, 1: None, 5: 2.0, 7: 2.0}, 0.5) == [5, 7]
    assert survivors({0: 1.0, 1: 1.0, 2: 1.0}, 0.9) == [0]
    assert survivors({0: None}, 0.5) == [0]


@pytest.mark.parametrize(
    ("strategy", "settings"),
    [
        (FirstFinish(), {"samples": 0}),
        (ShortM(), {"voters": 0}),
        (VoteAware(), {"power": -1}),
        (VoteAware(), {"error": 1}),
        (VoteAware(vote="borda"), {"error": 0.1}),
        (VoteAware(), {"wave": 0}),
        (SpeculativeRejection(), {"alpha": 1}),
        (SpeculativeRejection(), {"first": 0}),
    ],
)
def test_settings_out_of_range_are_refused(strategy: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        replace(strategy, **settings)

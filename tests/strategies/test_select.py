"""The selecting strategies over scripted samples, from question to answer."""

import math
from collections.abc import Sequence

import pytest

from lite.backends.scripted import ScriptedSampler
from lite.errors import Unsupported
from lite.ledger import Ledger
from lite.params import Chat, SamplingParams
from lite.runner import Budget, run
from lite.sampler import Answer, Chunk, Finished, Question, Strategy
from lite.strategies import (
    RPC,
    STRATEGIES,
    Greedy,
    Majority,
    MeanLogprob,
    Perplexity,
    Sample,
    SelfCertainty,
    ShortestMajority,
)
from lite.strategies.select.perplexity import perplexity_consistency
from lite.strategies.select.rpc import prune, rpc
from lite.strategies.select.self_certainty import power_for
from lite.strategies.select.shortest_majority import shortest_majority
from lite.strategies.settings import make
from tests.strategies.reading import requests

SELECTING = [name for name, kind in STRATEGIES.items() if ".select." in kind.__module__]
Said = tuple[str, float]  # a completion, and the certainty and log-probability of each of its tokens


def solved(strategy: Strategy, said: Sequence[Said], question: Question | None = None) -> Answer:
    """The strategy's answer when sample i says said[i], a word a token, as sure of each as it is said to be."""
    flow = strategy(question or Question(prompt="How many?"))
    events: list[Chunk | Finished] = []
    for request in requests(flow):
        text, sureness = said[request.sample]
        words = [f" {word}" for word in text.split()]
        same = (sureness,) * len(words)
        events.append(
            Chunk(request, 0, tuple(range(len(words))), tuple(words), tuple(s - 10 for s in same), certainty=same)
        )
        events.append(Finished(request, "eos", Ledger()))
    with pytest.raises(StopIteration) as stop:
        flow.send(events)
    answer: Answer = stop.value.value
    return answer


SPLIT: list[Said] = [("it is 5", 1.0), ("it is 5.0", 2.0), ("I say 6", 9.0), ("it is 7", 3.0), ("hm", 9.5)]


def test_majority_returns_what_most_samples_say() -> None:
    answer = solved(Majority(samples=5), SPLIT)
    assert (answer.value, answer.text, answer.confidence) == ("5", "it is 5", 0.5)
    assert [candidate.votes for candidate in answer.candidates] == [1, 1, 1, 1, 0]
    assert answer.candidates[0].score is None


def test_self_certainty_weighs_votes_by_rank() -> None:
    assert solved(SelfCertainty(samples=5, power=0.0), SPLIT).value == "5.0"
    answer = solved(SelfCertainty(samples=5, power=2.0), SPLIT)
    assert answer.value == "6"
    assert [candidate.votes for candidate in answer.candidates] == [1, 4, 16, 9, 0]
    assert answer.confidence == 16 / 30


def test_self_certainty_takes_the_most_certain_sample_of_an_open_question() -> None:
    poems: list[Said] = [("roses are", 1.0), ("violets", 3.0), ("the sea", 2.0)]
    answer = solved(SelfCertainty(samples=3), poems)
    assert (answer.text, answer.value, answer.confidence) == ("violets", None, None)
    assert solved(SelfCertainty(samples=5, rule="argmax"), SPLIT).value == "6"


def test_the_power_grows_with_the_number_of_samples() -> None:
    assert [power_for(samples) for samples in (1, 8, 16, 32, 64, 128)] == [0.3, 0.3, 0.7, 0.7, 1.2, 1.2]


@pytest.mark.parametrize("strategy", [MeanLogprob(samples=5), Perplexity(samples=5)])
def test_the_likeliest_sample_per_token_wins_by_either_measure(strategy: Strategy) -> None:
    answer = solved(strategy, SPLIT)
    assert (answer.text, answer.confidence) == ("I say 6", None)
    assert [candidate.votes for candidate in answer.candidates] == [0] * 5


def test_perplexity_scores_by_its_inverse_and_may_vote() -> None:
    said: list[Said] = [("so 5", 9.5), ("well 5", 9.5), ("yes 6", 9.9), ("yes 6", 9.9)]
    answer = solved(Perplexity(samples=4, rule="vote"), said)
    assert answer.value == "5"  # the two equal completions for 6 are one path
    assert [c.votes == c.score for c in answer.candidates] == [True, True, True, False]
    assert answer.candidates[3].votes == 0
    (alone,) = solved(Perplexity(samples=1), [("so 5", 9.5)]).candidates
    assert alone.score is not None
    assert 0 < alone.score <= 1


def test_rpc_drops_the_lower_mode() -> None:
    high = [("then it is 5", 9.95), ("thus 5", 9.94), ("so 5", 9.93), ("yes 5", 9.96)]
    low = [(f"maybe {word} 6", 8.0 + i / 10) for i, word in enumerate("abcdefgh")]
    answer = solved(RPC(samples=12), [*high, *low])
    assert answer.value == "5"
    assert answer.confidence == 1
    assert [candidate.votes > 0 for candidate in answer.candidates] == [True] * 4 + [False] * 8
    assert all(candidate.score for candidate in answer.candidates)


def test_rpc_prunes_nothing_where_the_fit_is_degenerate() -> None:
    assert all(prune([0.9] * 16))
    assert all(prune([0.9, 0.8, 0.1]))
    assert all(prune([0.0] * 9))
    assert all(prune([]))


def test_rpc_never_prunes_a_sample_above_the_mean_and_survives_samples_without_tokens() -> None:
    probabilities = [0.0, 0.9, 0.91, 0.92, 0.93, 0.2, 0.21, 0.22, 0.23, 0.94]
    kept = prune(probabilities)
    assert kept == [p > 0.5 for p in probabilities]
    election = rpc([math.log(p) if p else -math.inf for p in probabilities], ["x", *"aabbccddb"], range(10))
    assert election.winner == 3


def test_rpc_votes_unpruned_where_only_unreadable_samples_were_kept() -> None:
    means = [-0.01, -0.02, -0.03, -0.011, -2.0, -2.1, -2.2, -1.9]
    answers = [None] * 4 + ["a", "b", "a", "b"]
    assert prune([math.exp(mean) for mean in means]) == [True] * 4 + [False] * 4
    assert rpc(means, answers, range(8)).winner == 5
    assert rpc(means, [None] * 8, range(8)).share is None


def test_a_repeated_completion_is_counted_once() -> None:
    election = perplexity_consistency([0.0, 0.5, 0.5, 0.4, 0.3], ["a", "a", "a", "b", "b"], ["s", "s", "s", "t", "u"])
    assert election.votes == (0.0, 0.5, 0.0, 0.4, 0.3)
    assert election.winner == 3


def test_shortest_majority_prefers_brevity_between_equal_counts() -> None:
    said: list[Said] = [("well it may well be 5", 1.0), ("6", 1.0)]
    answer = solved(ShortestMajority(samples=2), said)
    assert (answer.value, answer.candidates[1].score) == ("6", -1.0)
    assert shortest_majority([1, 9, 9], ["a", "b", None]).winner == 0
    assert math.isfinite(shortest_majority([0, 1], ["a", "a"]).total)


def test_greedy_and_sample_draw_one_branch_without_a_vote() -> None:
    for strategy, temperature in ((Greedy(), 0.0), (Sample(), 0.7)):
        params = SamplingParams(temperature=0.7)
        answer = solved(type(strategy)(params=params), SPLIT)
        (candidate,) = answer.candidates
        assert candidate.request.params.temperature == temperature
        assert (answer.value, answer.confidence, candidate.votes) == ("5", None, 0)
        assert candidate.score is not None


@pytest.mark.parametrize("name", SELECTING)
def test_nothing_readable_is_an_answer_without_a_value(name: str) -> None:
    answer = solved(STRATEGIES[name](), [("no idea", 1.0)] * 16)
    assert (answer.value, answer.text, answer.confidence) == (None, "no idea", None)


@pytest.mark.parametrize("name", STRATEGIES)
def test_branches_that_drew_nothing_are_no_error(name: str) -> None:
    samplers = {"local": ScriptedSampler(num_slots=1), "remote": ScriptedSampler()}
    (answer,) = run(STRATEGIES[name](), [Question(prompt="?")], samplers, budget=Budget(tokens=1))
    assert all(candidate.tokens <= 1 for candidate in answer.candidates)


@pytest.mark.parametrize("name", [name for name in SELECTING if hasattr(STRATEGIES[name], "samples")])
def test_the_first_sixteen_of_thirty_two_samples_are_those_of_sixteen(name: str) -> None:
    texts = []
    for samples in (16, 32):
        (answer,) = run(make(name, samples=samples), [Question(prompt="?")], {"local": ScriptedSampler()})
        texts.append([candidate.text for candidate in answer.candidates])
    assert texts[1][:16] == texts[0]


@pytest.mark.parametrize(
    ("strategy", "ability"),
    [(SelfCertainty(), "certainty"), (RPC(), "logprobs"), (MeanLogprob(), "logprobs"), (Perplexity(), "logprobs")],
)
def test_a_sampler_that_cannot_tell_the_statistic_is_refused(strategy: Strategy, ability: str) -> None:
    with pytest.raises(Unsupported, match=ability):
        run(strategy, [Question(prompt="?")], {"local": ScriptedSampler(can=frozenset())})


def test_settings_out_of_range_are_refused() -> None:
    for kind in (Majority, SelfCertainty, MeanLogprob, Perplexity, RPC, ShortestMajority):
        with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
            kind(samples=0)
    for power in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="power"):
            SelfCertainty(power=power)


def test_strategies_are_values() -> None:
    assert SelfCertainty(samples=4) == SelfCertainty(samples=4)
    assert len({Majority(), Majority(samples=2), Majority()}) == 2


def test_a_choice_is_voted_for_by_letter_or_text() -> None:
    question = Question(prompt=Chat.ask("?"), choices=("a cat", "a dog"))
    said: list[Said] = [("The answer is (B).", 1.0), ("It is a dog", 1.0), ("**A**", 5.0)]
    assert solved(Majority(samples=3), said, question).value == "a dog"

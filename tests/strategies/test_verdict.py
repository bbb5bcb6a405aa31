import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lite.params import Chat
from lite.sampler import Question, Traits
from lite.strategies.branches import Branch
from lite.strategies.select.self_certainty import borda
from lite.strategies.stop.speculative_rejection import survivors
from lite.strategies.verdict import answer_text, elect, highest, picked, read, value_in, voted
from tests.strategies.reading import branch

THINKS = {"local": Traits(think_open="<think>", think_close="</think>")}
QUESTION = Question(prompt="?", models=THINKS)


def test_the_most_votes_win_and_ties_go_to_the_earliest_answer() -> None:
    election = elect(["b", "a", None, "a", "b"], [1, 2, 9, 1, 2])
    assert (election.winner, election.total, election.share) == (0, 3, 0.5)
    assert election.votes == (1, 2, 0, 1, 2)
    assert election.totals == {0: 3, 1: 3}


def test_nobody_votes_where_nothing_can_be_read() -> None:
    election = elect([None, None], [1, 1])
    assert (election.winner, election.total, election.share) == (0, 0, None)
    assert elect([], []).share is None


def test_the_highest_score_wins_ties_go_to_the_lowest_number_and_no_score_comes_last() -> None:
    assert highest([None, 1.0, 2.0, 2.0], range(4)) == 2
    assert highest([None, None], range(2)) == 0
    assert highest([3.0, -5.0, None], [1, 2]) == 1


def test_the_winner_speaks_through_its_best_scored_sample() -> None:
    branches = [branch(text) for text in ("It is 5.", "So 6", "Thus 5.0", "hm")]
    ballot = read(QUESTION, branches)
    answer = voted(ballot, elect(ballot.answers, [1, 1, 1, 1]), [1.0, 9.0, 2.0, 10.0])
    assert (answer.text, answer.value) == ("Thus 5.0", "5.0")
    assert answer.confidence == pytest.approx(2 / 3)
    assert [c.votes for c in answer.candidates] == [1, 1, 1, 0]
    assert [c.value for c in answer.candidates] == ["5", "6", "5.0", None]
    assert [c.score for c in answer.candidates] == [1.0, 9.0, 2.0, 10.0]


def test_without_a_readable_answer_the_best_scored_text_is_returned() -> None:
    ballot = read(QUESTION, [branch("well"), branch("perhaps")])
    answer = voted(ballot, elect(ballot.answers, [1, 1]), [0.1, 0.2])
    assert (answer.text, answer.value, answer.confidence) == ("perhaps", None, None)


def test_a_sample_without_an_answer_is_picked_only_if_none_has_one() -> None:
    assert picked(read(QUESTION, [branch("well"), branch("so 4")]), [9.0, 1.0]).value == "4"
    assert picked(read(QUESTION, [branch("well"), branch("hm")]), [1.0, 9.0]).text == "hm"


def test_the_answer_is_what_follows_the_thought() -> None:
    thought = branch("<think>\n3, so 4</think>\n\nThe answer is 5.")
    assert answer_text(QUESTION, thought) == "The answer is 5."
    assert value_in(QUESTION, thought) == "5"
    assert picked(read(QUESTION, [thought]), [None]).candidates[0].text.startswith("<think>")


def test_without_traits_the_whole_text_counts() -> None:
    text = "<think> 3 </think>"
    assert answer_text(Question(prompt="?"), branch(text)) == text
    assert value_in(Question(prompt="?"), branch(text)) == "3"


@pytest.mark.parametrize(
    ("drawn", "value"),
    [
        (branch("<think>3 and then 4", reason="length"), None),
        (branch("<think>So the answer is 7. Check: 3", reason="budget"), "7"),
        (branch("3 and then 4", reason="length", prompt=Chat.ask("?", thinking=True)), None),
        (branch("3 and then 4", reason="eos", prompt=Chat.ask("?", thinking=True)), "4"),
        (branch("3 and then 4", reason="length", prompt=Chat.ask("?", thinking=False)), "4"),
        (branch("<think>x</think> 3 and then 4", reason="cancelled"), "4"),
    ],
)
def test_a_thought_that_was_cut_counts_only_for_what_it_states(drawn: Branch, value: str | None) -> None:
    assert value_in(QUESTION, drawn) == value


def test_each_branch_is_read_with_its_own_models_tags() -> None:
    question = replace(QUESTION, models={**THINKS, "remote": Traits(think_close="[/t]")})
    assert value_in(question, branch("1 [/t] two 2 </think> three", sampler="remote")) == "2"
    assert value_in(question, branch("1 [/t] two 2 </think> three", sampler="unknown")) == "2"
    assert value_in(question, branch("1 [/t] two 2 </think> three")) is None


def test_the_questions_own_rules_decide_what_is_read_and_what_is_equal() -> None:
    question = Question(prompt="?", extract=lambda text: text[0], equivalent=lambda a, b: a.lower() == b.lower())
    ballot = read(question, [branch("abc"), branch("A"), branch("b")])
    assert ballot.values == ["a", "A", "b"]
    assert ballot.answers == [0, 0, 2]


answers = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=9)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(answers.flatmap(lambda a: st.tuples(st.just(a), st.lists(st.floats(0, 9), min_size=len(a), max_size=len(a)))))
def test_an_election_accounts_for_every_vote(drawn: tuple[list[str | None], list[float]]) -> None:
    given_answers, votes = drawn
    election = elect(given_answers, votes)
    assert sum(election.totals.values()) == pytest.approx(sum(election.votes))
    assert election.share is None or 0 <= election.share <= 1
    assert all(election.total >= total for total in election.totals.values())


def test_scores_that_differ_in_their_last_bits_are_a_tie() -> None:
    assert highest([1.0, 1.00002, 0.9], range(3)) == 0
    assert highest([1.0, 1.0002, 0.9], range(3)) == 1
    assert highest([None, -1.0, -math.inf], range(3)) == 1
    assert borda([1.0, 1.00002, 0.9], ["a", "b", "b"], 1.0).votes == (3.0, 2.0, 1.0)
    assert survivors({0: 1.0, 1: 1.00002, 2: 0.9}, 0.6) == [0]

"""What models answer, and what their votes become."""

from collections.abc import Generator, Sequence
from typing import TypeVar

import numpy as np
import pytest

from lite.backends.table import TableBackend, hashed_logits
from lite.backends.table_codec import ByteCodec
from lite.engine import Engine
from lite.errors import PromptTooLong
from lite.evaluate.checking import Checker
from lite.evaluate.items import Item
from lite.evaluate.parts import Parts, parts_of
from lite.evaluate.quantization.figures import (
    answer_figures,
    distribution_figures,
    forced_vote_figures,
    right_figures,
    signal_figures,
)
from lite.evaluate.quantization.samples import Asked, Drawn, Vote, certainties, draw_samples, sample_documents
from lite.evaluate.quantization.tokens import Compared, Side
from lite.params import Chat, SamplingParams
from lite.sampler import Question, Request
from lite.strategies.branches import Branch
from lite.strategies.verdict import read

Result = TypeVar("Result")
ITEMS = tuple(Item(id=str(i), question=f"{i}?", answer=str(i), index=i) for i in range(5))
ASKED = Asked(items=ITEMS, samples=3, params=SamplingParams(max_tokens=6), think=False)


def table(seed: int = 0, context_length: int = 128) -> Parts:
    codec = ByteCodec()
    logits = hashed_logits(codec.vocab_size, seed=seed, order=4)
    backend = TableBackend(logits, vocab_size=codec.vocab_size, num_slots=4, context_length=context_length)
    return parts_of(Engine(backend, codec), "table")


def result(steps: Generator[int, None, Result]) -> Result:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Result = end.value
            return found


def drawn_by(parts: Parts) -> Drawn:
    with Checker(use_math_verify=False) as checker:
        return result(draw_samples(parts, ASKED, checker))


def handmade(*questions: Sequence[tuple[str, float]], right: str = "1") -> Drawn:
    """Of each question's samples the answer and the certainty."""
    ballots = []
    for samples in questions:
        branches = [
            Branch(Request("?", sample=i), ids=[i], texts=[f"The answer is {answer}."], certainty=[certainty])
            for i, (answer, certainty) in enumerate(samples)
        ]
        ballots.append(read(Question(prompt="?"), branches))
    return Drawn(
        ballots=tuple(ballots), right=tuple(tuple(value == right for value in ballot.values) for ballot in ballots)
    )


def compared(before: Sequence[float], after: Sequence[float], clusters: Sequence[int]) -> Compared:
    """Documents of one token each, by their certainties."""
    zeros = np.zeros(len(before))
    sides = (Side(zeros, zeros, np.array(certainty)) for certainty in (before, after))
    return Compared(*sides, zeros, zeros + 1, np.arange(len(before)), np.array(clusters))


def test_samples_are_drawn_as_they_are_asked_for() -> None:
    drawn = drawn_by(table())
    assert [len(ballot.branches) for ballot in drawn.ballots] == [3] * 5
    assert all(
        ballot.question.prompt == Chat.ask(item.question, thinking=False)
        for ballot, item in zip(drawn.ballots, ITEMS, strict=True)
    )
    assert [len(one) for one in drawn.right] == [3] * 5
    documents = sample_documents(drawn, table())
    assert [document.cluster for document in documents] == [i // 3 for i in range(15)]
    assert documents[4].ids == tuple(drawn.ballots[1].branches[1].ids)
    assert (
        documents[4].context
        == documents[3].context
        == tuple(ByteCodec().encode_prompt(drawn.ballots[1].question.prompt))
    )


def test_the_same_model_draws_the_same_samples() -> None:
    told = answer_figures(drawn_by(table()), drawn_by(table()))
    assert told["identical_samples"] == 1
    assert told["majority"]["changed"] == told["self-certainty"]["changed"] == 0
    assert told["majority"]["accuracy_change"]["value"] == 0
    assert answer_figures(drawn_by(table()), drawn_by(table(seed=1)))["identical_samples"] < 0.5


def test_what_fails_is_raised() -> None:
    with pytest.raises(PromptTooLong):
        drawn_by(table(context_length=8))


def test_votes_differ_by_what_they_say_not_how() -> None:
    half, other, nothing = (Vote(value, False, 0.5) for value in ("1/2", "0.5", None))
    assert not half.differs(other)
    assert half.differs(nothing)
    assert not nothing.differs(nothing)


def test_another_certainty_changes_the_weighted_vote_alone() -> None:
    drawn = handmade([("1", 5.0), ("2", 1.0)], [("1", 5.0), ("1", 1.0)])
    assert drawn.vote(0, "self-certainty", [5.0, 1.0]).value == "1"
    assert drawn.vote(0, "self-certainty", [1.0, 5.0]).value == "2"
    assert drawn.vote(0, "majority", [1.0, 5.0]).value == "1"
    found = compared([5.0, 1.0, 5.0, 1.0], [1.0, 5.0, 5.0, 1.0], [0, 0, 1, 1])
    told = forced_vote_figures(found, drawn)["self-certainty"]
    assert (told["changed"], told["questions"]) == (1, 2)
    assert told["share_shift"]["value"] == pytest.approx(0)


def test_certainty_that_turns_round_tells_right_from_wrong_no_more() -> None:
    drawn = handmade([("1", 5.0), ("2", 1.0)], [("1", 4.0), ("3", 2.0)])
    told = right_figures(compared([5.0, 1.0, 4.0, 2.0], [1.0, 5.0, 2.0, 4.0], [0, 0, 1, 1]), drawn)
    assert told == {"samples": 4, "reference": 1.0, "candidate": 0.0}


def test_accuracy_is_paired_question_by_question() -> None:
    before = handmade([("1", 1.0), ("1", 1.0)], [("1", 1.0), ("2", 1.0)], [("2", 1.0), ("2", 1.0)])
    after = handmade([("2", 1.0), ("2", 1.0)], [("1", 1.0), ("1", 1.0)], [("2", 1.0), ("2", 1.0)])
    told = answer_figures(before, after)
    assert told["majority"]["reference_accuracy"]["value"] == pytest.approx(2 / 3)
    assert told["majority"]["accuracy"]["value"] == pytest.approx(1 / 3)
    assert told["majority"]["accuracy_change"]["value"] == pytest.approx(-1 / 3)
    assert told["majority"]["changed"] == 1
    assert told["majority"]["mcnemar_p"] == 1
    assert told["sample_accuracy"]["change"]["value"] == pytest.approx((-1 + 0.5) / 3)


def test_signals_shift_and_keep_their_order() -> None:
    told = signal_figures(compared([1.0, 2.0, 3.0, 5.0], [2.0, 3.0, 4.0, 6.0], [0, 0, 1, 1]))["certainty"]
    assert told["token_shift"] == told["document_shift"] == {"value": 1.0, "error": 0.0}
    assert told["token_rank_correlation"] == told["document_rank_correlation"] == pytest.approx(1)


def test_the_change_of_loss_is_that_of_the_logprobs() -> None:
    zeros = np.zeros(4)
    sides = (Side(np.array(logprob), zeros, zeros) for logprob in ([-1.0, -2, -1, -2], [-1.5, -2.5, -1, -2]))
    found = Compared(
        *sides, np.array([0.1, 0.2, 0.3, 0.4]), np.array([1.0, 1, 1, 0]), np.arange(4), np.array([0, 0, 1, 1])
    )
    told = distribution_figures(found)
    assert told["reference_nll"] == 1.5
    assert told["nll_change"] == {"value": 0.25, "error": pytest.approx(0.25)}  # half the spread of two clusters
    assert told["kl_mean"]["value"] == pytest.approx(0.25)
    assert told["kl_p99"]["value"] == 0.4
    assert told["same_best"] == {"value": 0.75, "low": 0.5, "high": 1.0}


def test_a_samples_certainty_is_the_mean_over_its_tokens() -> None:
    assert certainties(handmade([("1", 2.0), ("2", 3.0)]).ballots[0]) == [2.0, 3.0]

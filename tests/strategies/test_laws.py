"""The interface's law: a strategy's answer depends on what its branches say, not on how or when it arrives."""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lite import strategies
from lite.backends.scripted import ScriptedSampler
from lite.record import from_lines, replay, to_lines
from lite.runner import Budget, run
from lite.sampler import Answer, Question, Strategy
from tests.strategies.toys import EarlyStop, Probe, Rounds, Route, Vote, told

TOYS: dict[str, Callable[[], Strategy]] = {
    "toy vote": Vote,
    "toy early stop": EarlyStop,
    "toy probe": Probe,
    "toy route": Route,
    "toy rounds": Rounds,
}
REAL: dict[str, Callable[[], Strategy]] = dict(getattr(strategies, "STRATEGIES", {}))

every_strategy = pytest.mark.parametrize("name", [*TOYS, *REAL])
laws = settings(max_examples=12, derandomize=True, deadline=None, database=None)


@dataclass(frozen=True)
class Arrival:
    """How a sampler's events come."""

    chunk_size: int = 1
    ragged: bool = False
    num_slots: int | None = None
    silence: float = 0.0
    shuffle: bool = False
    arrival_seed: int = 0

    def sampler(self) -> ScriptedSampler:
        return ScriptedSampler(
            chunk_size=self.chunk_size,
            ragged=self.ragged,
            num_slots=self.num_slots,
            silence=self.silence,
            shuffle=self.shuffle,
            arrival_seed=self.arrival_seed,
        )


arrivals = st.builds(
    Arrival,
    chunk_size=st.integers(1, 9),
    ragged=st.booleans(),
    num_slots=st.sampled_from([None, 1, 2, 5]),
    silence=st.sampled_from([0.0, 0.3]),
    shuffle=st.booleans(),
    arrival_seed=st.integers(0, 99),
)
PLAIN = Arrival()


def make(name: str) -> Strategy:
    """With few samples, so that the laws are tried often rather than on much."""
    strategy = {**TOYS, **REAL}[name]()
    if not is_dataclass(strategy) or "samples" not in {f.name for f in fields(strategy)}:
        return strategy
    return replace(strategy, samples=8) if name in REAL else strategy


def answers(
    name: str, local: Arrival, big: Arrival = PLAIN, questions: range = range(3), budget: Budget | None = None
) -> list[Answer]:
    asked = [Question(prompt=f"question {i}") for i in questions]
    return run(
        make(name), asked, {"local": local.sampler(), "big": big.sampler(), "remote": big.sampler()}, budget=budget
    )


@every_strategy
@given(local=arrivals, big=arrivals)
@laws
def test_answers_do_not_depend_on_arrival(name: str, local: Arrival, big: Arrival) -> None:
    plain = [told(answer) for answer in answers(name, PLAIN)]

    assert [told(answer) for answer in answers(name, local, big)] == plain


@every_strategy
@given(local=arrivals, companions=st.integers(0, 6))
@laws
def test_answers_do_not_depend_on_the_questions_beside(name: str, local: Arrival, companions: int) -> None:
    (alone,) = answers(name, PLAIN, questions=range(1))

    assert told(answers(name, local, questions=range(1 + companions))[0]) == told(alone)


@every_strategy
@given(local=arrivals, big=arrivals, tokens=st.integers(1, 90))
@laws
def test_a_token_budget_falls_at_the_same_token_whatever_the_arrival(
    name: str, local: Arrival, big: Arrival, tokens: int
) -> None:
    budget = Budget(tokens=tokens)
    plain = answers(name, PLAIN, budget=budget)

    for answer, expected in zip(answers(name, local, big, budget=budget), plain, strict=True):
        assert answer.cost.drawn_tokens <= tokens
        if answer.cost.drawn_tokens + answer.cost.discarded_tokens < 2 * tokens:
            assert told(answer) == told(expected)


@every_strategy
@given(local=arrivals)
@laws
def test_a_budget_that_suffices_changes_no_answer(name: str, local: Arrival) -> None:
    plain = [told(answer) for answer in answers(name, PLAIN)]

    assert [told(answer) for answer in answers(name, local, budget=Budget(tokens=100_000))] == plain


@every_strategy
@given(local=arrivals, tokens=st.sampled_from([None, 20]))
@laws
def test_a_written_record_replays_to_the_same_answer(name: str, local: Arrival, tokens: int | None) -> None:
    question = Question(prompt="question 0")
    samplers = {"local": local.sampler(), "big": PLAIN.sampler(), "remote": PLAIN.sampler()}
    records = {}
    (answer,) = run(make(name), [question], samplers, budget=Budget(tokens=tokens), record=records)

    written = list(to_lines(records[0]))

    assert told(replay(make(name), question, from_lines(written))) == told(answer)
    assert list(to_lines(from_lines(written))) == written

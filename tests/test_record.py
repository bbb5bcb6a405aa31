"""A record replays its flow, survives being written down, and tells where a changed strategy parts from it."""

import json
import math
from dataclasses import replace

import pytest

from lite.backends.scripted import ScriptedSampler
from lite.errors import StrategyError
from lite.ledger import Ledger
from lite.params import Chat, Message, SamplingParams
from lite.record import Encoder, Exchange, Record, from_lines, replay, to_lines
from lite.runner import Budget, run
from lite.sampler import Cancel, Chunk, Finished, Question, Request, Traits
from tests.strategies.toys import EarlyStop, Probe, Rounds, Vote, told

QUESTION = Question(prompt="How many?")


def recorded(strategy: Vote | EarlyStop | Probe | Rounds, budget: Budget | None = None) -> tuple[Record, object]:
    records: dict[int, Record] = {}
    local = ScriptedSampler(chunk_size=3, traits=Traits("<think>", "</think>"))
    (answer,) = run(strategy, [QUESTION], {"local": local}, record=records, budget=budget)
    return records[0], told(answer)


@pytest.mark.parametrize("strategy", [Vote(), EarlyStop(), Probe(), Rounds()])
@pytest.mark.parametrize("budget", [None, Budget(tokens=15)])
def test_replays_to_the_same_answer(strategy: Vote | EarlyStop | Probe | Rounds, budget: Budget | None) -> None:
    record, answer = recorded(strategy, budget)

    assert told(replay(strategy, QUESTION, record)) == answer
    assert record.models == {"local": Traits("<think>", "</think>")}


def test_every_field_survives_being_written_down() -> None:
    chat = Chat((Message("system", "be brief"), Message("user", "wie groß?")), thinking=False)
    params = SamplingParams(temperature=0.1 + 0.2, logit_bias=((3, -math.inf), (5, 0.1)), stop=("\n", "</s>"), seed=7)
    main = Request(chat, params, sample=2, prefix="So\n", score=True, sampler="big")
    fork = Request(chat, parent=main, at=1, sampler="big")
    ids = Request((1, 2, 3))
    chunk = Chunk(main, 0, (9,), ("ß",), (-0.1,), (1 / 3,), (math.pi,), (((9, -0.1), (4, -math.inf)),))
    cost = Ledger(drawn_tokens=1, seconds=0.1, joules=2.5, branches=1)
    record = Record(
        models={"big": Traits("<think>", "</think>")},
        exchanges=[
            Exchange((), (main, ids)),
            Exchange((chunk, Chunk(ids, -1, (3,), ("x",))), (fork, Cancel(main, 1), Cancel(ids))),
            Exchange((Finished(main, "cancelled", cost), Finished(fork, "budget", Ledger())), ()),
        ],
    )

    lines = list(to_lines(record))
    again = from_lines(lines)

    assert list(to_lines(again)) == lines
    assert again.models == record.models
    (main_again, ids_again), (fork_again, cancel, _) = again.exchanges[0].commands, again.exchanges[1].commands
    assert isinstance(main_again, Request)
    assert (main_again.prompt, main_again.params) == (chat, params)
    assert (main_again.sample, main_again.prefix, main_again.score) == (2, "So\n", True)
    assert isinstance(ids_again, Request)
    assert ids_again.prompt == (1, 2, 3)
    assert isinstance(fork_again, Request)
    assert fork_again.parent is main_again
    assert cancel == Cancel(main_again, 1)
    assert again.exchanges[1].events[0] == replace(chunk, request=main_again)
    assert again.exchanges[2].events[0] == Finished(main_again, "cancelled", cost)


def test_lines_are_strict_json_that_a_writer_can_add_one_at_a_time() -> None:
    record, _ = recorded(Probe())
    encoder = Encoder()

    def refuse(constant: str) -> object:
        raise AssertionError(constant)

    plain = [json.loads(line, parse_constant=refuse) for line in to_lines(record)]

    assert [json.loads(json.dumps(encoder.encode(exchange))) for exchange in record.exchanges] == plain[1:]


def test_a_changed_strategy_parts_from_the_record_at_a_named_tick() -> None:
    record, _ = recorded(Vote(samples=3))

    with pytest.raises(StrategyError, match=r"at tick 0, command 3: recorded nothing, now \{'request': 3"):
        replay(Vote(samples=4), QUESTION, record)
    with pytest.raises(StrategyError, match=r"at tick 0, command 0: .*'max_tokens': 60.*'max_tokens': 61"):
        replay(Vote(samples=3, max_tokens=61), QUESTION, record)


def test_a_strategy_that_stops_earlier_parts_from_the_record() -> None:
    record, _ = recorded(EarlyStop(enough=1000.0))

    with pytest.raises(StrategyError, match=r"parts from the record at tick \d+"):
        replay(EarlyStop(enough=0.0), QUESTION, record)


def test_an_answer_before_the_records_end_is_not_the_recorded_one() -> None:
    record, _ = recorded(Vote(samples=1))
    finish = record.exchanges[-1]

    with pytest.raises(StrategyError, match="the flow answers, the recorded one went on"):
        replay(Vote(samples=1), QUESTION, Record(exchanges=[*record.exchanges, finish]))


def test_a_record_that_ends_before_the_answer_says_so() -> None:
    record, _ = recorded(Vote())
    last = len(record.exchanges) - 1

    with pytest.raises(StrategyError, match=f"ends at tick {last}, before the flow has answered"):
        replay(Vote(), QUESTION, Record(exchanges=record.exchanges[:-1]))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "at least its header line"),
        (["not json"], "line 1 is not of a lite record"),
        (["[]"], "line 1 is not of a lite record"),
        (['{"lite_record": 99, "models": {}}'], "line 1 .*version 99"),
        (['{"lite_record": 1, "models": {}}', '{"events": []}'], "line 2 .*'commands'"),
        (['{"lite_record": 1, "models": {}}', '{"events": [], "commands": [{"cancel": 0, "at": null}]}'], "line 2"),
    ],
)
def test_what_is_no_record_is_refused_with_its_line(lines: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_lines(lines)


def test_a_record_cannot_name_a_request_that_was_not_asked_for() -> None:
    with pytest.raises(StrategyError, match="not asked for"):
        list(to_lines(Record(exchanges=[Exchange((), (Cancel(Request("x")),))])))

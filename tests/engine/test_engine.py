"""The engine over a table of logits, against branches that are drawn alone."""

import gc
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lite.backends.base import Drawn, Row, Statistics
from lite.backends.table import Logits, TableBackend
from lite.backends.table_codec import ByteCodec
from lite.engine import Engine
from lite.errors import BackendError, InvalidRequest, PromptTooLong
from lite.ledger import Ledger
from lite.params import Chat, Prompt, SamplingParams
from lite.sampler import Finished, Request, Sampler
from tests.engine.reference import CODEC, CONTEXT, Expected, Record, SpyBackend, expect, small_alphabet

PROMPTS: tuple[Prompt, ...] = ("ab", "abc ", Chat.ask("ab"), tuple(b"ab\xc3"), "x")


def engine_of(
    num_slots: int = 4, tokens_per_step: int = 1, logits: Logits = small_alphabet
) -> tuple[Engine, SpyBackend]:
    backend = SpyBackend(logits, num_slots=num_slots, tokens_per_step=tokens_per_step)
    return Engine(backend, CODEC), backend


def run(engine: Engine, record: Record | None = None) -> Record:
    """Step until nothing happens; held tokens may make some steps silent, but never more than a context's worth."""
    record = record or Record.empty()
    silent = 0
    while silent < CONTEXT:
        events = engine.step(wait=True)
        record.add(events)
        silent = 0 if events else silent + 1
    return record


def spoken(text: bytes) -> Logits:
    """Logits of a model that says `text`, byte by byte, whatever it was asked, after a prompt of one token."""

    def logits(tokens: Sequence[int]) -> np.ndarray:
        values = np.zeros(CODEC.vocab_size, np.float32)
        said = len(tokens) - 1
        values[text[said] if said < len(text) else CODEC.end_id] = 30
        return values

    return logits


def speak(text: bytes, tokens_per_step: int = 1, **params: Any) -> tuple[Record, Request]:
    engine, _ = engine_of(1, tokens_per_step, logits=spoken(text))
    request = Request((1,), SamplingParams(temperature=0, **params))
    engine.start([request])
    return run(engine), request


def check(record: Record, request: Request, expected: Expected, cancelled_at: int | None = None) -> None:
    """The branch gave what it gives alone, or, if it was cancelled, the beginning of it."""
    chunks = record.drawn(request)
    count = len(record.ids(request))
    finished = record.finished[request]
    assert [chunk.start for chunk in chunks] == [sum(len(c.ids) for c in chunks[:i]) for i in range(len(chunks))]
    assert record.ids(request) == expected.ids[:count]
    assert [v for c in chunks for v in zip(c.logprobs, c.entropy, c.certainty, strict=True)] == expected.statistics[
        :count
    ]
    assert [best for chunk in chunks for best in chunk.top] == (
        expected.top[:count] if request.params.top_logprobs else []
    )
    if finished.reason == "cancelled":
        assert finished.cost.drawn_tokens == (count if cancelled_at is None else min(count, cancelled_at))
        assert record.texts(request) == expected.texts[:count]
    else:
        assert (count, finished.reason) == (len(expected.ids), expected.reason)
        assert record.texts(request) == expected.texts
        assert finished.cost.drawn_tokens == count
    score = [chunk for chunk in record.chunks.get(request, []) if chunk.start < 0]
    got = [v for c in score for v in zip(c.logprobs, c.entropy, c.certainty, strict=True)]
    assert got == (expected.score if count or score else [])


# The law


@dataclass(frozen=True)
class Order:
    """One request of a random scenario, and when what is done to it."""

    prompt: int
    params: SamplingParams
    prefix: str
    score: bool
    sample: int
    start: int  # the step before which it is started
    parent: int | None  # of the orders before it
    at: int
    cancel: tuple[int, int | None] | None  # (steps after its start, at)


PARAMS = st.builds(
    SamplingParams,
    max_tokens=st.sampled_from((1, 2, 5, 12, 99)),
    temperature=st.sampled_from((0.0, 0.7, 1.0)),
    top_k=st.sampled_from((0, 3)),
    repetition_penalty=st.sampled_from((1.0, 1.3)),
    frequency_penalty=st.sampled_from((0.0, 0.5)),
    seed=st.integers(0, 3),
    stop=st.lists(st.sampled_from(("bc", "abc", "caab", "é", "aé", "cc\ufffd")), max_size=3).map(tuple),
    top_logprobs=st.sampled_from((0, 2)),
)
ORDER = st.builds(
    Order,
    prompt=st.integers(0, len(PROMPTS) - 1),
    params=PARAMS,
    prefix=st.sampled_from(("", "", "b", "</think>é", "abcabc")),
    score=st.booleans(),
    sample=st.integers(0, 2),
    start=st.integers(0, 12),
    parent=st.none() | st.integers(0, 5),
    at=st.integers(0, 6),
    cancel=st.none() | st.none() | st.tuples(st.integers(0, 5), st.none() | st.integers(0, 8)),
)


class Scenario:
    """Runs orders on an engine, and checks after every step what must hold of all steps."""

    def __init__(self, orders: Sequence[Order], num_slots: int, tokens_per_step: int) -> None:
        self.engine, self.backend = engine_of(num_slots, tokens_per_step)
        self.record = Record.empty()
        self.orders = orders
        self.requests: dict[int, Request] = {}
        self.started: dict[int, int] = {}  # order -> step
        self.num_slots = num_slots

    def run(self) -> None:
        for step in range(10_000):
            self._start(step)
            self._cancel(step)
            unfinished = len(self.requests) - len(self.record.finished)
            steps, events = len(self.backend.steps), self.engine.step(wait=False)
            waiting = sum(isinstance(event, Finished) and event.reason == "cancelled" for event in events)
            if len(self.backend.steps) > steps:
                assert len(self.backend.steps[-1]) == min(self.num_slots, unfinished - waiting)
            self.record.add(events)
            if len(self.record.finished) == len(self.orders):
                return
        raise AssertionError("the scenario does not end")

    def _start(self, step: int) -> None:
        due = [i for i, order in enumerate(self.orders) if i not in self.requests and order.start <= step]
        batch = []
        for index in due:
            order = self.orders[index]
            parent = None if order.parent is None or order.parent >= index else self.requests.get(order.parent)
            given = self._given(parent) if parent else 0
            prompt = parent.prompt if parent else PROMPTS[order.prompt]
            at = min(order.at, given)
            request = Request(prompt, order.params, order.sample, order.prefix, parent, at, score=order.score)
            if parent and self._room(request) < 1:
                request = replace(request, parent=None, at=0, prompt="c")
            self.requests[index] = request
            self.started[index] = step
            batch.append(request)
        self.engine.start(batch)

    def _given(self, request: Request) -> int:
        if request in self.record.finished:
            return self.record.finished[request].cost.drawn_tokens
        return 0 if request in self._cancelled() else len(self.record.ids(request))

    def _cancelled(self) -> set[Request]:
        return {self.requests[i] for i, s in self.started.items() if self.orders[i].cancel and s >= 0}

    def _room(self, request: Request | None) -> int:
        room = CONTEXT
        while request:
            room -= len(CODEC.encode(request.prefix))
            room -= request.at if request.parent else len(CODEC.encode_prompt(request.prompt))
            request = request.parent
        return room

    def _cancel(self, step: int) -> None:
        for index, request in self.requests.items():
            cancel = self.orders[index].cancel
            if cancel and step == self.started[index] + cancel[0]:
                self.engine.cancel(request, cancel[1])

    def expected(self) -> dict[Request, Expected]:
        done: dict[Request, Expected] = {}
        for index in sorted(self.requests, key=lambda i: (self.started[i], i)):
            done[self.requests[index]] = expect(self.requests[index], done)
        return done


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    orders=st.lists(ORDER, min_size=1, max_size=7),
    num_slots=st.integers(1, 5),
    tokens_per_step=st.sampled_from((1, 3, 8)),
)
def test_a_branch_among_others_is_the_branch_alone(
    orders: Sequence[Order], num_slots: int, tokens_per_step: int
) -> None:
    scenario = Scenario(orders, num_slots, tokens_per_step)
    scenario.run()
    total = Ledger()
    for request, expected in scenario.expected().items():
        order = next(scenario.orders[i] for i, each in scenario.requests.items() if each is request)
        check(scenario.record, request, expected, order.cancel[1] if order.cancel else None)
        cost = scenario.record.finished[request].cost
        context = cost.prompt_tokens + cost.cached_tokens + cost.forced_tokens
        assert context == (expected.prompt_length if cost.drawn_tokens + cost.discarded_tokens else 0)
        total += cost
    assert total.prompt_tokens + total.forced_tokens == scenario.backend.num_computed
    assert total.drawn_tokens + total.discarded_tokens == scenario.backend.num_drawn
    assert total.branches == len(orders)


# Sharing


def test_equal_prompts_are_computed_once_and_forked() -> None:
    engine, backend = engine_of(16)
    prompt = "a question that is asked sixteen times"
    requests = [Request(prompt, SamplingParams(max_tokens=2), sample) for sample in range(16)]
    engine.start(requests)
    record = run(engine)
    assert backend.extended == [(0, 0, len(prompt) - 1)]
    assert backend.forked == [(0, slot, len(prompt) - 1) for slot in range(1, 16)]
    costs = [record.finished[request].cost for request in requests]
    assert [cost.prompt_tokens for cost in costs] == [len(prompt)] + [1] * 15
    assert [cost.cached_tokens for cost in costs] == [0] + [len(prompt) - 1] * 15


def test_a_prompt_is_encoded_once_for_all_its_samples() -> None:
    encoded: list[Prompt] = []

    class Counting(ByteCodec):
        def encode_prompt(self, prompt: Prompt) -> Sequence[int]:
            encoded.append(prompt)
            return super().encode_prompt(prompt)

    backend = SpyBackend(num_slots=2)
    engine = Engine(backend, Counting((b"",) * 5))
    engine.start([Request("ab", sample=1), Request("ab", sample=2), Request(Chat.ask("a")), Request(Chat.ask("a"))])
    assert encoded == ["ab", Chat.ask("a")]


def test_prompts_share_what_they_have_in_common() -> None:
    engine, backend = engine_of(3)
    params = SamplingParams(max_tokens=1)
    engine.start([Request("a head, one", params), Request("a head, two", params), Request("other", params)])
    run(engine)
    assert backend.extended == [(0, 0, 10), (1, 8, 2), (2, 0, 4)]
    assert backend.forked == [(0, 1, 8)]


def test_the_longest_of_several_common_prefixes_is_shared() -> None:
    engine, backend = engine_of(4)
    params = SamplingParams(max_tokens=2, logit_bias=((CODEC.end_id, -99.0),))
    engine.start([Request(prompt, params) for prompt in ("a cat", "a dog barks", "a dog eats", "a dog barked")])
    run(engine)
    assert backend.forked == [(0, 1, 2), (1, 2, 6), (1, 3, 10)]


def test_the_kv_of_a_finished_branch_is_used_again() -> None:
    engine, backend = engine_of(2)
    engine.start([Request("the same prompt", SamplingParams(max_tokens=3))])
    run(engine)
    again = Request("the same prompt", SamplingParams(max_tokens=3), sample=1)
    engine.start([again])
    record = run(engine)
    assert len(backend.extended) == 1
    assert record.finished[again].cost.cached_tokens == len("the same prompt") - 1


def test_a_conversation_goes_on_in_its_slot() -> None:
    engine, backend = engine_of(2)
    first = Request(tuple(b"hello"), SamplingParams(max_tokens=3, logit_bias=((CODEC.end_id, -99.0),)))
    engine.start([first])
    record = run(engine)
    longer = (*b"hello", *record.ids(first), *b" and then")
    engine.start([Request(longer, SamplingParams(max_tokens=1))])
    run(engine)
    assert backend.extended == [(0, 0, 4), (0, 7, len(longer) - 1 - 7)]
    assert backend.forked == []


def test_an_unused_slot_is_taken_before_what_is_cached_gives_way() -> None:
    engine, backend = engine_of(2)
    params = SamplingParams(max_tokens=1)
    for prompt in ("<turn>one", "<turn>two", "<turn>one", "<turn>two"):
        engine.start([Request(prompt, params)])
        run(engine)
    assert [tokens for _, _, tokens in backend.extended] == [3, 2]


def test_the_slot_free_for_longest_gives_way() -> None:
    engine, backend = engine_of(2)
    params = SamplingParams(max_tokens=1)
    for prompt in ("one", "two", "six", "two", "one"):
        engine.start([Request(prompt, params)])
        run(engine)
    assert [(slot, tokens) for slot, _, tokens in backend.extended] == [(0, 2), (1, 2), (0, 2), (0, 2)]


def test_a_shared_prefix_is_forced_once_and_then_cached() -> None:
    engine, _ = engine_of(2)
    requests = [Request("abc", SamplingParams(max_tokens=1), sample, prefix="</think>ok") for sample in range(2)]
    engine.start(requests)
    record = run(engine)
    first, second = (record.finished[request].cost for request in requests)
    assert (first.prompt_tokens, first.forced_tokens, first.cached_tokens) == (3, 3, 0)
    assert (second.prompt_tokens, second.forced_tokens, second.cached_tokens) == (0, 1, 5)


def test_a_scored_prefix_is_computed_even_if_it_is_cached() -> None:
    engine, backend = engine_of(2)
    params = SamplingParams(max_tokens=1, top_logprobs=2)
    requests = [Request("abc", params, prefix="</think>é", score=True) for _ in range(2)]
    engine.start(requests)
    record = run(engine)
    score = record.chunks[requests[0]][0]
    assert (score.start, score.ids, score.texts) == (-3, (259, 0xC3, 0xA9), ("</think>", "", "é"))
    assert [len(best) for best in score.top] == [2, 2, 2]
    assert replace(record.chunks[requests[1]][0], request=requests[0]) == score
    assert [tokens for _, _, tokens in backend.extended] == [2, 3, 3]
    costs = [record.finished[request].cost for request in requests]
    assert [(cost.prompt_tokens, cost.forced_tokens, cost.cached_tokens) for cost in costs] == [(3, 3, 0), (1, 3, 2)]


def test_of_a_model_that_masks_tokens_the_likeliest_are_those_it_leaves() -> None:
    def two_tokens(tokens: Sequence[int]) -> np.ndarray:
        values = np.full(CODEC.vocab_size, -np.inf, np.float32)
        values[[97, 98]] = 1, 0
        return values

    engine, _ = engine_of(logits=two_tokens)
    request = Request("ab", SamplingParams(max_tokens=1, top_logprobs=4))
    engine.start([request])
    (best,) = run(engine).drawn(request)[0].top
    assert [token for token, _ in best] == [97, 98]


# Forks


def test_a_fork_goes_on_from_ids_and_not_from_their_text() -> None:
    engine, backend = engine_of(2)
    parent = Request("x", SamplingParams(max_tokens=6, logit_bias=((CODEC.vocab_size - 5, 99.0),)))
    engine.start([parent])
    record = run(engine)
    assert record.text(parent) == "ab" * 6
    child = Request("x", SamplingParams(max_tokens=1), parent=parent, at=4, prefix="c")
    engine.start([child])
    cost = run(engine).finished[child].cost
    assert list(backend.steps[-1][0].context[:6]) == [*b"x", *[CODEC.vocab_size - 5] * 4, *b"c"]
    assert (cost.cached_tokens, cost.prompt_tokens, cost.forced_tokens) == (5, 0, 1)


def test_a_fork_of_a_branch_whose_kv_is_gone_computes_it_again() -> None:
    engine, _ = engine_of(1)
    parent = Request("x", SamplingParams(max_tokens=6, logit_bias=((CODEC.end_id, -99.0),)))
    engine.start([parent])
    engine.start([Request("something else", SamplingParams(max_tokens=1))])
    run(engine)
    child = Request("x", SamplingParams(max_tokens=5), sample=3, parent=parent, at=2)
    engine.start([child])
    record = run(engine)
    check(record, child, expect(child, {parent: expect(parent, {})}))
    assert record.finished[child].cost.prompt_tokens == 3


def test_a_fork_may_be_started_beside_its_parent() -> None:
    engine, backend = engine_of(2)
    parent = Request("abcabc", SamplingParams(max_tokens=1))
    child = Request("abcabc", SamplingParams(max_tokens=1), parent=parent, prefix="b")
    engine.start([parent, child])
    run(engine)
    assert backend.forked == [(0, 1, 5)]


def test_a_fork_completes_the_character_that_its_parent_began() -> None:
    engine, _ = engine_of(2, logits=spoken("aé".encode()))
    params = SamplingParams(temperature=0)
    parent = Request((1,), params)
    engine.start([parent])
    record = run(engine)
    assert record.texts(parent) == ["a", "", "é", ""]
    child = Request((1,), params, parent=parent, at=2)
    engine.start([child])
    assert run(engine).texts(child) == ["é", ""]


def test_a_trail_is_forgotten_with_its_request() -> None:
    engine, _ = engine_of(1)
    request = Request("x", SamplingParams(max_tokens=1))
    engine.start([request])
    run(engine)
    gone = weakref.ref(request)
    del request
    gc.collect()
    assert gone() is None


# Refusals


def test_a_prompt_that_can_never_fit_is_refused_with_the_numbers() -> None:
    engine, _ = engine_of()
    with pytest.raises(
        PromptTooLong, match="46 prompt tokens, 2 prefix tokens and one to draw exceed the context of 48"
    ):
        engine.start([Request("x" * 46, prefix="ab")])


@pytest.mark.parametrize("tokens_per_step", [1, 8])
def test_a_branch_that_fills_the_context_ends_by_length(tokens_per_step: int) -> None:
    engine, _ = engine_of(2, tokens_per_step)
    tight = Request("x" * (CONTEXT - 1), SamplingParams(max_tokens=100, logit_bias=((CODEC.end_id, -99.0),)))
    roomy = replace(tight, prompt="x" * (CONTEXT - 5))
    engine.start([tight, roomy])
    record = run(engine)
    assert [record.finished[request].reason for request in (tight, roomy)] == ["length", "length"]
    assert [len(record.ids(request)) for request in (tight, roomy)] == [1, 5]
    assert all(finished.cost.discarded_tokens == 0 for finished in record.finished.values())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Request((1, 9999)), "holds token 9999, the model's vocabulary is 0..268"),
        (Request((-1,)), "holds token -1"),
        (Request(""), "the prompt has no tokens"),
        (Request("a", sample=-1), r"sample must be in \[0, 2\*\*32\), got -1"),
        (Request("a", at=1), "at=1 without a parent"),
        (Request("a", SamplingParams(logit_bias=((400, 1.0),))), "logit_bias holds token 400"),
        (Request("a", SamplingParams(logit_bias=tuple((t, -np.inf) for t in range(269)))), "forbids every token"),
        (Request("a", parent=Request("a")), "the parent was never started"),
    ],
)
def test_a_request_that_cannot_be_served_is_refused_with_all_its_companions(wrong: Request, message: str) -> None:
    engine, backend = engine_of()
    with pytest.raises(InvalidRequest, match=message):
        engine.start([Request("fine"), wrong])
    assert engine.step(wait=True) == []
    assert backend.steps == []


def test_a_fork_past_its_parent_or_with_another_prompt_is_refused() -> None:
    engine, _ = engine_of()
    parent = Request("a", SamplingParams(max_tokens=2, logit_bias=((CODEC.end_id, -99.0),)))
    engine.start([parent])
    run(engine)
    with pytest.raises(InvalidRequest, match="a fork at token 3 of a branch that has 2"):
        engine.start([Request("a", parent=parent, at=3)])
    with pytest.raises(InvalidRequest, match="a fork repeats its parent's prompt"):
        engine.start([Request("b", parent=parent, at=1)])


def test_a_request_object_is_one_branch() -> None:
    engine, _ = engine_of()
    request = Request("a", SamplingParams(max_tokens=1))
    with pytest.raises(InvalidRequest, match="started before"):
        engine.start([request, request])
    engine.start([request])
    run(engine)
    with pytest.raises(InvalidRequest, match="started before"):
        engine.start([request])


# Admission and cancelling


def test_what_does_not_fit_waits_first_in_first_out() -> None:
    engine, backend = engine_of(2)
    requests = [Request("ab", SamplingParams(max_tokens=1 + sample % 3), sample) for sample in range(9)]
    engine.start(requests[:5])
    engine.start(requests[5:])
    record = run(engine)
    first_steps = [row.stream for rows in backend.steps for row in rows if row.drawn == 0]
    assert first_steps == [expect(request, {}).stream for request in requests]
    assert len(record.finished) == 9
    assert all(len(rows) == 2 for rows in backend.steps[:-2])


def test_a_cancelled_branch_frees_its_slot_before_the_next_step() -> None:
    engine, backend = engine_of(1)
    forever = SamplingParams(max_tokens=40, logit_bias=((CODEC.end_id, -99.0),))
    first, second = Request("ab", forever), Request("ab", forever, sample=1)
    engine.start([first, second])
    record = Record.empty()
    for _ in range(3):
        record.add(engine.step(wait=True))
    engine.cancel(first, at=1)
    engine.cancel(first)
    record.add(engine.step(wait=True))
    finished = record.finished[first]
    assert finished.reason == "cancelled"
    assert (finished.cost.drawn_tokens, finished.cost.discarded_tokens) == (1, 2)
    assert backend.steps[-1][0].stream == expect(second, {}).stream
    run(engine, record)
    check(record, second, expect(second, {}))


def test_what_was_cut_off_can_be_forked_no_more() -> None:
    engine, _ = engine_of(1)
    request = Request("ab", SamplingParams(logit_bias=((CODEC.end_id, -99.0),)))
    engine.start([request])
    for _ in range(5):
        engine.step(wait=True)
    engine.cancel(request, at=2)
    with pytest.raises(InvalidRequest, match="a fork at token 3 of a branch that has 2"):
        engine.start([Request("ab", parent=request, at=3)])
    engine.start([Request("ab", parent=request, at=2)])


def test_a_waiting_branch_can_be_cancelled_for_the_budget() -> None:
    engine, _ = engine_of(1)
    live, waiting = Request("ab", SamplingParams(max_tokens=2)), Request("ab")
    engine.start([live, waiting])
    engine.step(wait=True)
    engine.cancel(waiting, reason="budget")
    record = run(engine)
    assert (record.finished[waiting].reason, record.finished[waiting].cost) == ("budget", Ledger(branches=1))


def test_to_cancel_a_stranger_or_a_finished_branch_does_nothing() -> None:
    engine, _ = engine_of(1)
    request = Request("ab", SamplingParams(max_tokens=1))
    engine.start([request])
    run(engine)
    engine.cancel(request)
    engine.cancel(Request("ab"))
    assert engine.step(wait=True) == []


# Text


@pytest.mark.parametrize("tokens_per_step", [1, 3, 8])
def test_a_stop_string_that_spans_tokens_is_cut_off(tokens_per_step: int) -> None:
    record, request = speak(b"one stopped, two STOP three", tokens_per_step, stop=("stop it", "STOP"))
    assert record.text(request) == "one stopped, two "
    assert bytes(record.ids(request)) == b"one stopped, two STOP"
    assert record.finished[request].reason == "stop"
    assert record.finished[request].cost.discarded_tokens == -21 % tokens_per_step


def test_a_token_is_held_back_while_it_may_belong_to_a_stop_string() -> None:
    record, request = speak(b"xabab!", stop=("abc",))
    assert [bytes(chunk.ids) for chunk in record.drawn(request)[:-1]] == [b"x", b"ab", b"ab!"]


@pytest.mark.parametrize("tokens_per_step", [1, 3, 8])
def test_a_character_comes_with_the_token_that_completes_it(tokens_per_step: int) -> None:
    record, request = speak("é→🙂".encode(), tokens_per_step)
    assert record.texts(request) == ["", "é", "", "", "→", "", "", "", "🙂", ""]
    assert record.finished[request].reason == "eos"


@pytest.mark.parametrize(("said", "max_tokens"), [(b"a\xe2\x86", 9), (b"a\xe2\x86\x92", 3)])
def test_what_is_no_character_at_the_end_is_replaced(said: bytes, max_tokens: int) -> None:
    record, request = speak(said, max_tokens=max_tokens)
    assert record.texts(request)[:3] == ["a", "", "\ufffd"]


@pytest.mark.parametrize("tokens_per_step", [1, 3, 8])
def test_the_end_token_is_given_with_an_empty_text(tokens_per_step: int) -> None:
    record, request = speak(b"done", tokens_per_step)
    assert (record.ids(request)[-1], record.texts(request)[-1]) == (CODEC.end_id, "")
    assert record.finished[request].cost.drawn_tokens == 5


# Failures


class Failing(SpyBackend):
    """Fails at one step or one extend, then works."""

    def __init__(self, failing_step: int = -1, failing_extend: int = -1) -> None:
        super().__init__(num_slots=2)
        self._failing_step = failing_step
        self._failing_extend = failing_extend
        self.num_steps = 0
        self.num_extends = 0

    def step(self, rows: Sequence[Row], end_ids: frozenset[int]) -> Drawn:
        drawn = super().step(rows, end_ids)
        self.num_steps += 1
        if self.num_steps == self._failing_step:
            raise BackendError("the step failed")
        return drawn

    def extend(
        self, slot: int, start: int, ids: Sequence[int], targets: Sequence[int] | None = None, top: int = 0
    ) -> Statistics | None:
        found = super().extend(slot, start, ids, targets, top)
        self.num_extends += 1
        if self.num_extends == self._failing_extend:
            raise BackendError("the prefill failed")
        return found


@pytest.mark.parametrize("failure", [{"failing_step": 1}, {"failing_step": 3}, {"failing_extend": 1}])
def test_after_a_failure_nothing_is_lost_and_a_retry_goes_on(failure: dict[str, int]) -> None:
    engine = Engine(Failing(**failure), CODEC)
    requests = [Request("abc", SamplingParams(max_tokens=6), sample, prefix="b", score=True) for sample in range(4)]
    engine.start(requests)
    record = Record.empty()
    with pytest.raises(BackendError, match="failed"):
        run(engine, record)
    run(engine, record)
    for request in requests:
        check(record, request, expect(request, {}))


class LosesAll(Failing):
    """After a failure no slot holds anything, as with a device's arrays that a failed program has taken."""

    def extend(
        self, slot: int, start: int, ids: Sequence[int], targets: Sequence[int] | None = None, top: int = 0
    ) -> Statistics | None:
        try:
            return super().extend(slot, start, ids, targets, top)
        except BackendError:
            for lost in range(self.spec.num_slots):
                TableBackend.extend(self, lost, 0, ())
            raise


def test_a_failed_prefill_that_lost_every_slot_is_followed_by_what_it_would_have_been() -> None:
    backend = LosesAll(failing_extend=3)
    engine = Engine(backend, CODEC)
    params = SamplingParams(max_tokens=1)
    engine.start([Request("abcabc", params), Request("other", params)])
    run(engine)
    failing, again = Request("unlike", params), Request("abcabcabc", params)
    engine.start([failing])
    with pytest.raises(BackendError, match="the prefill failed"):
        engine.step(wait=True)
    engine.cancel(failing)
    engine.start([again])
    record = Record.empty()
    run(engine, record)
    check(record, again, expect(again, {}))
    assert record.finished[again].cost.cached_tokens == 0


def test_what_a_failed_prefill_overwrote_is_not_shared() -> None:
    backend = Failing(failing_extend=3)
    engine = Engine(backend, CODEC)
    params = SamplingParams(max_tokens=1)
    engine.start([Request("abcabc", params), Request("other", params)])
    run(engine)
    failing = Request("unlike", params)
    engine.start([failing])
    with pytest.raises(BackendError, match="the prefill failed"):
        engine.step(wait=True)
    engine.cancel(failing)
    again = Request("abcabc", params)
    engine.start([again])
    assert run(engine).finished[again].cost.cached_tokens == 0


def test_logits_that_are_not_finite_are_an_error_and_never_a_token() -> None:
    engine, _ = engine_of(logits=lambda tokens: np.full(CODEC.vocab_size, np.nan, np.float32))
    engine.start([Request("ab")])
    with pytest.raises(BackendError, match="non-finite"):
        engine.step(wait=True)
    engine.close()


def test_close_is_idempotent_and_ends_the_engine() -> None:
    engine, _ = engine_of()
    engine.start([Request("ab")])
    engine.close()
    engine.close()
    with pytest.raises(BackendError, match="was closed"):
        engine.step(wait=True)
    with pytest.raises(BackendError, match="was closed"):
        engine.start([])


def test_an_engine_is_a_sampler_that_can_everything() -> None:
    sampler: Sampler = engine_of()[0]
    assert sampler.can == {"logprobs", "certainty", "entropy", "top", "prefix", "fork", "score"}
    assert sampler.traits == CODEC.traits

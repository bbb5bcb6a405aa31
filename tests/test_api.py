"""The Python face: one answer however it is asked for, from wherever, and nothing left running."""

import _thread
import asyncio
import gc
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import numpy as np
import pytest

import lite
from lite import Chat, Message, Model, Progress, Question, Result, SamplingParams
from lite.backends.scripted import ScriptedSampler
from lite.backends.table import TableBackend, hashed_logits
from lite.backends.table_codec import ByteCodec
from lite.engine import Engine
from lite.options import Options, make_question
from lite.sampler import Ability, Event, Request, Traits
from lite.strategies import Greedy, Majority, SelfCertainty
from tests.gguf_files import write_gguf

CODEC = ByteCodec()
NUM_SLOTS = 12
TABLE = hashed_logits(CODEC.vocab_size, order=3)


class Watched(TableBackend):
    """Counts its steps, and calls `before_step` with the number of each."""

    def __init__(self, *, logits: Callable[[Sequence[int]], np.ndarray] = TABLE) -> None:
        super().__init__(
            logits, vocab_size=CODEC.vocab_size, num_slots=NUM_SLOTS, context_length=4096, forbidden=CODEC.forbidden_ids
        )
        self.steps = 0
        self.closed = False
        self.before_step: Callable[[int], None] = lambda number: None

    def step(self, rows, end_ids):  # type: ignore[no-untyped-def]
        self.steps += 1
        self.before_step(self.steps)
        return super().step(rows, end_ids)

    def close(self) -> None:
        self.closed = True
        super().close()


@pytest.fixture
def backend() -> Watched:
    return Watched()


@pytest.fixture
def model(backend: Watched) -> Iterator[Model]:
    with Model(Engine(backend, CODEC), name="table", engine="table", format="f32") as model:
        yield model


@pytest.fixture
def scripted() -> Iterator[Model]:
    script = ScriptedSampler(lambda request: f"Well. The answer is {(3, 4, 4, 5)[request.sample % 4]}.")
    with Model(script, name="script", engine="scripted", format="text") as model:
        yield model


ENDLESS: Options = {"samples": 4, "params": SamplingParams(max_tokens=4000, logit_bias=((CODEC.end_id, -np.inf),))}
SHORT: Options = {"samples": 3, "max_tokens": 9}


def test_solve_tells_the_answer_its_candidates_and_who_drew_it(scripted: Model) -> None:
    result = scripted.solve("How many?", "majority", samples=4, seed=5)
    assert (result.value, result.confidence) == ("4", 0.5)
    assert result.text == "Well. The answer is 4."
    assert [candidate.value for candidate in result.candidates] == ["3", "4", "4", "5"]
    assert (result.strategy, result.model, result.engine, result.format, result.seed) == (
        "majority",
        "script",
        "scripted",
        "text",
        5,
    )
    assert result.cost.drawn_tokens == sum(candidate.tokens for candidate in result.candidates)
    with pytest.raises(FrozenInstanceError):
        result.value = "5"  # type: ignore[misc]


def test_a_result_as_json_is_the_same_every_time_unless_it_tells_the_seconds(model: Model) -> None:
    model.solve("?", **SHORT)  # so that both find the prompt in the cache
    first, second = (model.solve("?", **SHORT) for _ in range(2))
    assert first.to_json() == second.to_json()
    assert "seconds" not in json.loads(first.to_json())["cost"]
    assert json.loads(first.to_json(timings=True))["cost"]["seconds"] > 0


def test_many_questions_get_what_each_gets_alone(model: Model, backend: Watched) -> None:
    questions = ["one?", "two?", "three?"]
    alone = [model.solve(question, **SHORT) for question in questions]
    steps_alone, backend.steps = backend.steps, 0
    together = model.solve_many(questions, **SHORT)
    assert [drawn(one) for one in together] == [drawn(one) for one in alone]
    assert backend.steps < steps_alone
    assert model.solve_many([]) == []


def test_a_stream_tells_every_token_of_every_sample_and_then_the_result(model: Model) -> None:
    *progress, result = model.stream("?", **SHORT)
    assert isinstance(result, Result)
    for candidate in result.candidates:
        own = [one for one in progress if isinstance(one, Progress) and one.sample == candidate.request.sample]
        assert "".join(one.text for one in own) == candidate.text
        assert own[-1].tokens == candidate.tokens
        assert [one.reason for one in own] == [None] * (len(own) - 1) + [candidate.reason]
    assert drawn(result) == drawn(model.solve("?", **SHORT))


def drawn(result: Result) -> dict[str, object]:
    """All but the cost: a prompt that was read before costs less."""
    return {name: value for name, value in result.as_dict().items() if name != "cost"}


def quiet(backend: Watched) -> bool:
    """Whether nothing is drawn any more."""
    before = backend.steps
    time.sleep(0.05)
    return backend.steps == before


def all_free(model: Model, backend: Watched) -> bool:
    """Whether nothing is drawn any more, and as many samples as there are slots begin in the same step."""
    still, backend.steps = quiet(backend), 0
    model.solve("?", "majority", samples=NUM_SLOTS, max_tokens=9)
    return still and backend.steps <= 9


def test_closing_a_stream_stops_within_a_step_and_frees_the_slots(model: Model, backend: Watched) -> None:
    stream = model.stream("?", **ENDLESS)
    next(stream)
    stream.close()
    assert backend.steps < 200
    assert all_free(model, backend)


def test_a_stream_that_is_dropped_stops_too(model: Model, backend: Watched) -> None:
    for _ in model.stream("?", **ENDLESS):
        break
    gc.collect()
    assert all_free(model, backend)


def test_a_stream_that_is_never_read_draws_nothing(model: Model, backend: Watched) -> None:
    model.stream("?", **ENDLESS)
    assert quiet(backend)
    assert backend.steps == 0


def test_another_call_while_a_stream_is_open_is_answered_beside_it(model: Model) -> None:
    endless = model.stream("?", **ENDLESS)
    next(endless)
    alone = model.solve("other?", **SHORT)
    assert drawn(alone) == drawn(model.solve("other?", **SHORT))
    assert not isinstance(next(endless), Result)
    endless.close()
    assert drawn(alone) == drawn(model.solve("other?", **SHORT))


def test_calls_at_once_share_the_batch(model: Model, backend: Watched) -> None:
    questions = ["one?", "two?", "three?", "four?"]
    expected = [drawn(model.solve(question, **SHORT)) for question in questions]
    alone, backend.steps = backend.steps, 0
    together = threading.Barrier(len(questions))

    def ask(question: str) -> dict[str, object]:
        together.wait()
        return drawn(model.solve(question, **SHORT))

    backend.before_step = lambda number: time.sleep(0.02)  # long enough for all to arrive
    with ThreadPoolExecutor(len(questions)) as pool:
        assert [*pool.map(ask, questions)] == expected
    assert backend.steps < alone / 2


@pytest.mark.parametrize(("strategy", "expected"), [("majority", 4 + 1), ("dynasor", 6)])
def test_as_many_questions_are_under_way_as_fill_the_slots(strategy: str, expected: int) -> None:
    script, seen = ScriptedSampler(), []
    step = script.step

    def watched(*, wait: bool) -> Sequence[Event]:
        seen.append(script.num_live + script.num_waiting)
        return step(wait=wait)

    script.step = watched  # type: ignore[method-assign]
    questions = [f"{number}?" for number in range(40)]
    with Model(script, name="script", engine="scripted", format="text", slots=NUM_SLOTS) as model:
        model.solve_many(questions, strategy, **({"samples": 3} if strategy == "majority" else {}))
    assert seen[0] == expected * (3 if strategy == "majority" else 1)


class Collecting(ScriptedSampler):
    """Once it is told to, collects garbage in the thread that steps it, as Python itself may."""

    due = threading.Event()

    def step(self, *, wait: bool) -> Sequence[Event]:
        if self.due.is_set():
            self.due.clear()
            gc.collect()
        time.sleep(0.002)  # so that the stream is under way when it is dropped
        return super().step(wait=wait)


def test_a_stream_that_is_collected_in_the_models_own_thread_stops_too() -> None:
    class Holder:
        stream: object
        me: "Holder"

    sampler = Collecting(lambda _: "word " * 400)
    with Model(sampler, name="script", engine="scripted", format="text") as model:
        gc.disable()
        try:
            holder = Holder()
            holder.me, holder.stream = holder, model.stream("?", "majority", samples=2)
            next(holder.stream)  # type: ignore[call-overload]
            del holder
            sampler.due.set()
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(model.solve, "?", "majority", samples=2, max_tokens=9).result(30).candidates
            assert not sampler.due.is_set()
        finally:
            gc.enable()


class Mute:
    """A server that is asked and says nothing: a sampler that would wait for ever."""

    can: frozenset[Ability] = frozenset()
    traits = Traits()

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.closed = threading.Event()

    def start(self, requests: Sequence[Request]) -> None:
        self.asked.set()

    def cancel(self, request: Request, at: int | None = None, reason: str = "cancelled") -> None:
        pass

    def step(self, *, wait: bool) -> Sequence[Event]:
        if wait:
            self.closed.wait(30)
        return ()

    def close(self) -> None:
        self.closed.set()


def test_a_silent_server_keeps_no_other_call_and_no_close_waiting() -> None:
    mute = Mute()
    with (
        ThreadPoolExecutor(1) as pool,
        Model(ScriptedSampler(), name="s", engine="scripted", format="text", samplers={"remote": mute}) as model,
    ):
        waiting = pool.submit(model.solve, "?", Greedy(sampler="remote"))
        assert mute.asked.wait(10)
        assert model.solve("?", "majority", samples=2).candidates
        model.close()
        with pytest.raises(lite.UsageError, match="closed"):
            waiting.result(10)


def test_calls_of_a_format_that_is_not_batch_invariant_follow_one_another(backend: Watched) -> None:
    seen: list[int] = []
    step = backend.step
    backend.step = lambda rows, end_ids: seen.append(len(rows)) or step(rows, end_ids)  # type: ignore[method-assign, func-returns-value]
    engine = Engine(backend, CODEC)
    with (
        Model(engine, name="table", engine="table", format="q", together=False) as model,
        ThreadPoolExecutor(4) as pool,
    ):
        assert all(pool.map(lambda question: model.solve(question, **SHORT).candidates, "1234"))
    assert max(seen) == 3


def test_an_engine_that_fails_ends_every_call_that_it_served(model: Model, backend: Watched) -> None:
    expected = drawn(model.solve("?", **SHORT))
    stream = model.stream("?", **ENDLESS)
    next(stream)

    def fail(number: int) -> None:
        raise lite.BackendError("broken")

    backend.before_step = fail
    with pytest.raises(lite.BackendError, match="broken"):
        model.solve("?", **SHORT)
    with pytest.raises(lite.BackendError, match="broken"):
        for _ in stream:
            pass
    backend.before_step = lambda number: None
    assert drawn(model.solve("?", **SHORT)) == expected


def test_calls_from_many_threads_get_what_they_get_one_by_one(model: Model) -> None:
    questions = [f"question {index}?" for index in range(12)]
    expected = [drawn(model.solve(question, **SHORT)) for question in questions]
    with ThreadPoolExecutor(6) as pool:
        assert [*pool.map(lambda question: drawn(model.solve(question, **SHORT)), questions)] == expected


def test_asolve_is_solve_for_many_tasks_at_once(model: Model) -> None:
    questions = [f"question {index}?" for index in range(6)]

    async def ask_all() -> list[Result]:
        return await asyncio.gather(*(model.asolve(question, **SHORT) for question in questions))

    together = [drawn(result) for result in asyncio.run(ask_all())]
    assert together == [drawn(model.solve(question, **SHORT)) for question in questions]


def test_cancelling_a_task_stops_within_a_step_and_frees_the_slots(model: Model, backend: Watched) -> None:
    begun = threading.Event()
    backend.before_step = lambda number: begun.set()

    async def give_up() -> None:
        task = asyncio.create_task(model.asolve("?", **ENDLESS))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    model.solve("?", **SHORT)  # comes after what was cancelled
    assert all_free(model, backend)


def test_a_timeout_is_a_cancelled_task(model: Model) -> None:
    async def in_a_hurry() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(model.asolve("?", **ENDLESS), 0.05)

    asyncio.run(in_a_hurry())
    assert model.solve("?", **SHORT).candidates


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Python's own handler, which a test run in the background of a shell does not begin with."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("way", ["solve", "stream"])
def test_ctrl_c_stops_the_drawing_and_leaves_the_model_usable(model: Model, backend: Watched, way: str) -> None:
    before = drawn(model.solve("?", **SHORT))
    backend.before_step = lambda number: _thread.interrupt_main() if number == 40 else None
    backend.steps = 0
    with pytest.raises(KeyboardInterrupt):
        model.solve("?", **ENDLESS) if way == "solve" else [*model.stream("?", **ENDLESS)]
    assert all_free(model, backend)
    assert drawn(model.solve("?", **SHORT)) == before


def test_a_closed_model_says_so(model: Model, backend: Watched) -> None:
    model.close()
    model.close()
    assert backend.closed
    with pytest.raises(lite.UsageError, match="closed"):
        model.solve("?", **SHORT)
    with pytest.raises(lite.UsageError, match="closed"):
        next(model.stream("?", **SHORT))
    with pytest.raises(lite.UsageError, match="closed"):
        asyncio.run(model.asolve("?", **SHORT))


def test_closing_ends_the_call_that_another_thread_waits_for(model: Model, backend: Watched) -> None:
    begun = threading.Event()
    backend.before_step = lambda number: begun.set()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(model.solve, "?", **ENDLESS)
        assert begun.wait(10)
        model.close()
        with pytest.raises(lite.UsageError, match="closed"):
            waiting.result(10)
    assert backend.closed


def test_a_model_that_nobody_holds_is_closed() -> None:
    backend = Watched()
    model = Model(Engine(backend, CODEC), name="table", engine="table", format="f32")
    model.solve("?", **SHORT)
    del model
    gc.collect()
    assert backend.closed


def test_an_engine_that_fails_leaves_the_model_usable() -> None:
    faults = iter([False] * 20 + [True])

    def logits(tokens: Sequence[int]) -> np.ndarray:
        return np.full(CODEC.vocab_size, np.nan, np.float32) if next(faults, False) else TABLE(tokens)

    with Model(Engine(Watched(logits=logits), CODEC), name="table", engine="table", format="f32") as model:
        with pytest.raises(lite.BackendError, match="finite"):
            model.solve("?", **ENDLESS)
        assert model.solve("?", **SHORT).candidates


def test_what_cannot_be_is_refused_before_anything_is_drawn(model: Model, backend: Watched) -> None:
    for options, error in (
        ({"samples": 0}, ValueError),
        ({"temperature": -1.0}, ValueError),
        ({"settings": {"powr": 1}}, ValueError),
        ({"sample": 3}, TypeError),
    ):
        with pytest.raises(error):
            model.solve("?", **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="majority"):
        model.solve("?", "majorty")
    with pytest.raises(ValueError, match="part of the strategy object"):
        model.solve("?", Majority(), samples=3)
    with pytest.raises(lite.PromptTooLong, match="4096"):
        model.solve("word " * 1000, **SHORT)
    assert backend.steps == 0


def test_a_strategy_object_is_taken_as_it_is(model: Model) -> None:
    params = SamplingParams(max_tokens=9, seed=3)
    given = model.solve("?", SelfCertainty(samples=2, params=params, rule="argmax"))
    named = model.solve("?", "self-certainty", samples=2, max_tokens=9, seed=3, settings={"rule": "argmax"})
    assert drawn(given) == drawn(named)
    assert model.solve("?", Greedy(params=params)).strategy == "greedy"


def test_a_setting_may_be_a_value_or_its_text(model: Model) -> None:
    value, text = (model.solve("?", **SHORT, settings={"power": power}) for power in (0.5, "0.5"))
    assert drawn(value) == drawn(text)


def test_a_budget_gives_the_best_answer_so_far(model: Model) -> None:
    result = model.solve("?", **ENDLESS, budget=lite.Budget(tokens=20))
    assert sum(candidate.tokens for candidate in result.candidates) == 20
    assert {candidate.reason for candidate in result.candidates} == {"budget"}


def test_choices_and_extractors_of_the_question_reach_the_vote(scripted: Model) -> None:
    asked = Question(prompt=Chat.ask("How many?"), choices=("3 apples", "5 apples"), extract=lambda text: text[-2])
    assert scripted.solve(asked, "majority", samples=4).value == "4"


def test_system_and_thinking_become_part_of_the_conversation() -> None:
    asked = make_question("Why?", {"system": "Be brief.", "think": False})
    assert asked.prompt == Chat((Message("system", "Be brief."), Message("user", "Why?")), thinking=False)
    chat = Chat((Message("user", "Why?"),), thinking=True)
    assert make_question(chat, {}).prompt == chat
    assert make_question(Question(prompt=chat), {"think": False}).prompt == Chat(chat.messages, thinking=False)
    assert make_question(Question(prompt="2+2="), {"think": None}).prompt == "2+2="


def test_system_and_thinking_are_refused_where_they_have_no_place() -> None:
    with pytest.raises(ValueError, match="conversation"):
        make_question(Question(prompt="2+2="), {"think": False})
    with pytest.raises(ValueError, match="twice"):
        make_question(Chat.ask("Why?", system="Be brief."), {"system": "Be long."})


def test_every_sampling_parameter_can_be_an_option() -> None:
    assert {field.name for field in fields(SamplingParams)} < Options.__annotations__.keys()


def test_load_opens_a_file_and_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITE_CACHE_DIR", str(tmp_path / "cache"))
    path = write_gguf(tmp_path / "small.gguf")
    with lite.load(path, format="f32", samples=2, context=64) as model:
        assert (model.name, model.engine, model.format) == ("small", "onnx", "f32")
        assert model.traits.think_close == "</think>"
        assert len(model.solve("How many?", **SHORT).candidates) == 3
    for wrong in ({"samples": 0}, {"context": 0}, {"threads": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            lite.load(path, **wrong)
    with pytest.raises(lite.UsageError, match="unknown engine 'onxx'"):
        lite.load(path, "onxx")
    with pytest.raises(lite.ModelError, match=r"none\.gguf"):
        lite.load(tmp_path / "none.gguf")


def test_a_model_may_hold_other_samplers_by_name() -> None:
    closed: list[bool] = []

    class Other(ScriptedSampler):
        def close(self) -> None:
            closed.append(True)

    samplers = {"remote": Other(lambda request: "It is 42.")}
    unsure = ScriptedSampler(lambda request: f"It is {request.sample}.")
    with Model(unsure, name="script", engine="scripted", format="text", samplers=samplers) as model:
        result = model.solve("How many?", "cascade", samples=4)
        assert (result.value, result.failures, result.failure) == ("42", (), "")
        told = [(one["sampler"], one["sample"]) for one in result.as_dict()["candidates"]]  # type: ignore[attr-defined]
        assert told == [("local", 0), ("remote", 0), ("local", 1), ("local", 2), ("local", 3)]
    assert closed == [True]
    with pytest.raises(ValueError, match="'local'"):
        Model(unsure, name="script", engine="scripted", format="text", samplers={"local": unsure})


def test_a_remote_that_may_not_be_asked_is_told_in_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITE_CACHE_DIR", str(tmp_path / "cache"))
    remote = lite.RemoteConfig(url="http://127.0.0.1:9/v1", offline=True)
    with lite.load(write_gguf(tmp_path / "small.gguf"), samples=2, remote=remote) as model:
        kept = model.solve("?", "cascade", samples=2, max_tokens=4)
        assert kept.failures == ("remote: offline: nothing is sent",)
        assert (kept.failure, kept.cost.remote_calls) == ("", 0)
        lost = model.solve("?", Greedy(sampler="remote"))
        assert lost.failure == "remote: offline: nothing is sent"
        *_, last = model.stream("?", Greedy(sampler="remote"))
        assert isinstance(last, Result)
        assert last.failure == lost.failure


def test_a_load_that_fails_leaves_no_remote_behind(tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(lite.ModelError):
        lite.load(tmp_path / "none.gguf", remote=lite.RemoteConfig(url="http://127.0.0.1:9/v1"))
    assert threading.active_count() == before


def test_the_embedded_model_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITE_CACHE_DIR", str(tmp_path))
    result = lite.solve("Tom has 3 pens and buys 4 more. How many pens has Tom now?", samples=2, max_tokens=20)
    assert result.model == "lite-math"
    assert len(result.candidates) == 2

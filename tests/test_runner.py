"""What the runner holds: refusals, one list a tick, order of events, budgets, cancellation, accounts, faults."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from lite.backends.scripted import ScriptedSampler, by_prompt
from lite.errors import BackendError, Interrupted, InvalidRequest, LiteError, PromptTooLong, StrategyError, Unsupported
from lite.ledger import Ledger
from lite.runner import Budget, drive, run
from lite.sampler import (
    Ability,
    Answer,
    Cancel,
    Chunk,
    Event,
    Finished,
    Flow,
    Question,
    Request,
    Traits,
)
from tests.strategies.toys import EarlyStop, Rounds, Route, Vote, given, told

QUESTION = Question(prompt="How many?")
TEN_WORDS = "one two three four five six seven eight nine ten"


@dataclass(frozen=True)
class Scripted:
    """A strategy out of a plain flow function."""

    flow: Callable[[Question], Flow]
    needs: Mapping[str, frozenset[Ability]] = field(default_factory=dict)

    def __call__(self, question: Question) -> Flow:
        return self.flow(question)


def answer(text: str = "done") -> Answer:
    return Answer(text=text, value=None, confidence=None, candidates=())


def until_finished(*commands: Request | Cancel) -> Flow:
    """Yield the commands and gather events until all their requests have finished; a flow to `yield from`."""
    open_requests = {command for command in commands if isinstance(command, Request)}
    events: list[Event] = []
    while open_requests:
        arrived = yield commands
        commands = ()
        events += arrived
        open_requests -= {event.request for event in arrived if isinstance(event, Finished)}
    return events  # type: ignore[return-value]


class Clock:
    """Gains a second each time that it is read."""

    def __init__(self, tick: float = 1.0) -> None:
        self.now = 0.0
        self.tick = tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


def always(text: str) -> Callable[[Request], str]:
    return lambda request: text


# --- before a token is drawn


def test_refuses_a_strategy_whose_sampler_lacks_an_ability_and_names_one_that_could() -> None:
    local = ScriptedSampler(can=frozenset({"logprobs"}))

    with pytest.raises(Unsupported, match=r"Vote needs 'certainty', which sampler 'local' cannot do.*'big' could"):
        drive(Vote(), [QUESTION], {"local": local, "big": ScriptedSampler()})

    assert local.started == []


def test_refuses_a_strategy_whose_sampler_is_not_given() -> None:
    with pytest.raises(Unsupported, match=r"Route needs a sampler named 'big', which is not given.*'local' could"):
        drive(Route(), [QUESTION], {"local": ScriptedSampler()})


def test_a_request_that_its_sampler_cannot_serve_fails_its_question_alone() -> None:
    def flow(question: Question) -> Flow:
        yield from until_finished(Request(question.prompt, prefix="So"))
        return answer()

    local = ScriptedSampler(can=frozenset({"certainty"}))
    outcomes = run([Scripted(flow), Vote()], [QUESTION] * 2, {"local": local}, return_errors=True)

    assert isinstance(outcomes[0], Unsupported)
    assert isinstance(outcomes[1], Answer)


def test_a_request_to_an_unknown_sampler_is_unsupported() -> None:
    def flow(question: Question) -> Flow:
        yield from until_finished(Request(question.prompt, sampler="elsewhere"))
        return answer()

    with pytest.raises(Unsupported, match="'elsewhere', which is not given"):
        run(Scripted(flow), [QUESTION], {"local": ScriptedSampler()})


def test_gives_strategies_each_samplers_traits() -> None:
    def flow(question: Question) -> Flow:
        yield from until_finished(Request(question.prompt))
        return answer(question.models["local"].think_close)

    (told_answer,) = run(Scripted(flow), [QUESTION], {"local": ScriptedSampler(traits=Traits("<think>", "</think>"))})

    assert told_answer.text == "</think>"


def test_one_strategy_for_each_question_or_one_for_all() -> None:
    first, second = run([Vote(samples=2), Vote(samples=3)], [QUESTION] * 2, {"local": ScriptedSampler()})

    assert (len(first.candidates), len(second.candidates)) == (2, 3)
    with pytest.raises(ValueError, match="2 strategies for 1 questions"):
        drive([Vote(), Vote()], [QUESTION], {"local": ScriptedSampler()})


# --- ticks


def test_all_requests_of_a_tick_reach_the_sampler_as_one_list() -> None:
    local = ScriptedSampler()

    run(Vote(samples=3), [QUESTION, QUESTION], {"local": local})

    assert [len(requests) for requests in local.started] == [6]


def test_an_answers_events_come_by_branch_then_position_whatever_the_arrival() -> None:
    seen: list[Sequence[Event]] = []

    def flow(question: Question) -> Flow:
        requests = [Request(question.prompt, sample=i) for i in range(5)]
        commands: Sequence[Request] = requests
        finished = 0
        while finished < len(requests):
            seen.append((yield commands))
            commands = ()
            finished += sum(isinstance(event, Finished) for event in seen[-1])
        return answer()

    run(Scripted(flow), [QUESTION], {"local": ScriptedSampler(always(TEN_WORDS), chunk_size=4, shuffle=True)})

    assert given(seen[0]) == [(sample, position) for sample in range(5) for position in range(4)]
    assert [len(given(events)) for events in seen] == [20, 20, 20]
    assert given(seen[2])[:4] == [(0, 8), (0, 9), (0, 10), (0, "eos")]


def test_ticks_tell_the_events_that_each_flow_was_given_and_the_outcomes() -> None:
    ticks = list(drive(Vote(samples=2), [QUESTION, QUESTION], {"local": ScriptedSampler(always("a b"))}))

    assert [given(tick.events[1]) for tick in ticks] == [
        [(0, 0), (1, 0)],
        [(0, 1), (1, 1)],
        [(0, 2), (0, "eos"), (1, 2), (1, "eos")],
    ]
    assert [sorted(tick.outcomes) for tick in ticks] == [[], [], [0, 1]]


def test_questions_are_read_as_others_end_when_concurrency_is_limited() -> None:
    read: list[int] = []

    def questions() -> Iterator[Question]:
        for i in range(4):
            read.append(i)
            yield Question(prompt=f"question {i}")

    local = ScriptedSampler()
    ticks = drive(Vote(samples=1), questions(), {"local": local}, concurrency=2)
    next(ticks)

    assert read == [0, 1]
    assert sum(len(tick.outcomes) for tick in ticks) == 4
    with pytest.raises(ValueError, match="concurrency must be at least 1 or None, got 0"):
        drive(Vote(), [QUESTION], {"local": local}, concurrency=0)


def test_a_flow_that_answers_without_a_branch_costs_nothing() -> None:
    def flow(question: Question) -> Flow:
        return answer("known")
        yield ()

    (known,) = run(Scripted(flow), [QUESTION], {"local": ScriptedSampler()}, clock=lambda: 0.0)

    assert (known.text, known.cost) == ("known", Ledger())


def test_waits_in_a_sampler_only_when_no_other_is_busy() -> None:
    waits: dict[str, list[bool]] = {"local": [], "big": []}

    class Watched(ScriptedSampler):
        name = "local"

        def step(self, *, wait: bool) -> Sequence[Event]:
            waits[self.name].append(wait)
            return super().step(wait=wait)

    big = Watched(always("a b c d"), silence=0.5)
    big.name = "big"

    def flow(question: Question) -> Flow:
        yield from until_finished(Request(question.prompt), Request(question.prompt, sampler="big"))
        return answer()

    run(Scripted(flow), [QUESTION], {"local": Watched(always("a")), "big": big})

    assert waits["local"] == [False, False]
    assert waits["big"][:2] == [False, False]
    assert all(waits["big"][2:])


# --- ends


def test_closing_cancels_every_live_branch_on_every_sampler_at_once() -> None:
    def flow(question: Question) -> Flow:
        yield from until_finished(
            *(Request(question.prompt, sample=i) for i in range(3)), Request(question.prompt, sampler="big")
        )
        return answer()

    local, big = ScriptedSampler(num_slots=2), ScriptedSampler()
    ticks = drive(Scripted(flow), [QUESTION, QUESTION], {"local": local, "big": big})
    next(ticks)
    ticks.close()

    assert (len(local.cancelled), len(big.cancelled)) == (6, 2)
    assert (local.num_live, local.num_waiting, big.num_live) == (0, 0, 0)


def test_a_sampler_serves_the_next_run_after_one_that_was_closed() -> None:
    local = ScriptedSampler()
    ticks = drive(Vote(), [QUESTION], {"local": local})
    next(ticks)
    ticks.close()

    assert told(run(Vote(), [QUESTION], {"local": local})[0]) == told(
        run(Vote(), [QUESTION], {"local": ScriptedSampler()})[0]
    )


def test_a_strategys_own_error_comes_out_after_all_branches_are_cancelled() -> None:
    def flow(question: Question) -> Flow:
        yield [Request(question.prompt, sample=i) for i in range(2)]
        raise ZeroDivisionError("the strategy's own")

    local = ScriptedSampler()
    with pytest.raises(ZeroDivisionError, match="the strategy's own"):
        run([Scripted(flow), Vote()], [QUESTION] * 2, {"local": local})

    assert (local.num_live, len(local.cancelled)) == (0, 6)


def test_what_an_answered_flow_leaves_running_is_cancelled_and_its_tokens_are_discarded() -> None:
    def flow(question: Question) -> Flow:
        first, second = Request(question.prompt), Request(question.prompt, sample=1)
        commands: Sequence[Request] = (first, second)
        while True:
            events = yield commands
            commands = ()
            if any(isinstance(event, Finished) for event in events):
                return answer()

    script = by_prompt({"How many?": ["a b c", TEN_WORDS]})
    local = ScriptedSampler(script)
    (first,) = run(Scripted(flow), [QUESTION], {"local": local})

    assert [request.sample for request, _, _ in local.cancelled] == [1]
    assert (first.cost.drawn_tokens, first.cost.discarded_tokens, first.cost.branches) == (8, 0, 2)
    assert (first.cost.prompt_tokens, first.cost.cached_tokens) == (2, 2)


@pytest.mark.parametrize("chunk_size", [1, 4, 100])
def test_tokens_past_a_cancel_are_discarded_and_none_is_missing_from_the_account(chunk_size: int) -> None:
    def flow(question: Question) -> Flow:
        branch = Request(question.prompt)
        events = yield (branch,)
        while sum(len(event.ids) for event in events if isinstance(event, Chunk)) < 3:
            events = [*events, *(yield ())]
        yield (Cancel(branch, at=3),)
        return answer()

    (short,) = run(Scripted(flow), [QUESTION], {"local": ScriptedSampler(always(TEN_WORDS), chunk_size=chunk_size)})

    expected = {1: (3, 0), 4: (3, 1), 100: (3, 8)}
    assert (short.cost.drawn_tokens, short.cost.discarded_tokens) == expected[chunk_size]


def test_tokens_that_come_after_a_cancel_are_not_shown_to_the_flow() -> None:
    class Tardy(ScriptedSampler):
        """Tells of the tokens that were under way when the cancel came."""

        def cancel(self, request: Request, at: int | None = None, reason: object = "cancelled") -> None:
            if request in self._live:
                self._ended.extend(self._advance(self._live[request]))
            super().cancel(request, at)

    seen: list[Event] = []

    def flow(question: Question) -> Flow:
        branch = Request(question.prompt)
        seen.extend((yield (branch,)))
        seen.extend((yield (Cancel(branch, at=1),)))
        return answer()

    (short,) = run(Scripted(flow), [QUESTION], {"local": Tardy(always(TEN_WORDS))})

    assert given(seen) == [(0, 0), (0, "cancelled")]
    assert (short.cost.drawn_tokens, short.cost.discarded_tokens) == (1, 1)


def test_seconds_run_from_the_flows_start_to_its_answer() -> None:
    clock = Clock()
    (short,) = run(Vote(samples=1), [QUESTION], {"local": ScriptedSampler()}, clock=clock)

    assert short.cost.seconds == 1.0  # read once at the start and once at the answer


# --- budgets


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokens": 0}, "tokens must be at least 1 or None, got 0"),
        ({"seconds": 0.0}, "seconds must be above 0 and finite, or None, got 0.0"),
        ({"money": float("nan")}, "money must be above 0 and finite, or None, got nan"),
    ],
)
def test_a_budget_out_of_range_is_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Budget(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("tokens", [1, 4, 10, 17, 32, 33])
def test_a_token_budget_falls_by_position_then_branch_for_every_chunk_size(chunk_size: int, tokens: int) -> None:
    local = ScriptedSampler(always(TEN_WORDS), chunk_size=chunk_size)
    (short,) = run(Vote(samples=3), [QUESTION], {"local": local}, budget=Budget(tokens=tokens))

    even, rest = divmod(tokens, 3)
    assert [c.tokens for c in short.candidates] == [even + (i < rest) for i in range(3)]
    assert short.cost.drawn_tokens == tokens
    is_whole = {c.tokens: c.reason for c in short.candidates}
    assert is_whole == {n: "eos" if n == 11 else "budget" for n in is_whole}


@pytest.mark.parametrize("num_slots", [1, 2, 3, None])
def test_a_token_budget_falls_at_the_same_token_for_every_number_of_slots(num_slots: int | None) -> None:
    local = ScriptedSampler(always(TEN_WORDS), num_slots=num_slots)
    (short,) = run(Vote(samples=3), [QUESTION], {"local": local}, budget=Budget(tokens=17))

    assert [c.tokens for c in short.candidates] == [6, 6, 5]
    assert short.cost.drawn_tokens + short.cost.discarded_tokens == sum(
        ledger_tokens(event) for event in local_finished(num_slots)
    )


def local_finished(num_slots: int | None) -> list[Finished]:
    """What the same sampler itself says that its branches cost."""
    ended: list[Finished] = []

    class Watched(ScriptedSampler):
        def step(self, *, wait: bool) -> Sequence[Event]:
            events = super().step(wait=wait)
            ended.extend(event for event in events if isinstance(event, Finished))
            return events

    local = Watched(always(TEN_WORDS), num_slots=num_slots)
    run(Vote(samples=3), [QUESTION], {"local": local}, budget=Budget(tokens=17))
    return ended


def ledger_tokens(event: Finished) -> int:
    return event.cost.drawn_tokens + event.cost.discarded_tokens


def test_a_flow_that_needs_no_more_than_its_budget_is_left_alone() -> None:
    local = ScriptedSampler(always(TEN_WORDS))
    (whole,) = run(Vote(samples=2), [QUESTION], {"local": local}, budget=Budget(tokens=22))

    assert [c.reason for c in whole.candidates] == ["eos", "eos"]
    assert local.cancelled == []


def test_a_token_budget_bounds_what_is_drawn_while_branches_wait_for_slots() -> None:
    script = always(" ".join(["word"] * 200))
    local = ScriptedSampler(script, num_slots=4)
    (short,) = run(Vote(samples=16, max_tokens=200), [QUESTION], {"local": local}, budget=Budget(tokens=160))

    assert short.cost.drawn_tokens == 160
    assert [c.tokens for c in short.candidates] == [10] * 16
    assert short.cost.drawn_tokens + short.cost.discarded_tokens <= 4 * 160


def test_branches_that_are_asked_for_after_the_budget_is_spent_never_reach_a_sampler() -> None:
    local = ScriptedSampler(always(TEN_WORDS))
    (short,) = run(Rounds(), [QUESTION], {"local": local}, budget=Budget(tokens=5))

    assert sum(len(requests) for requests in local.started) == 1
    assert [(c.tokens, c.reason) for c in short.candidates] == [(5, "budget"), *[(0, "budget")] * 2]
    assert short.cost.branches == 1


def test_a_flow_that_never_stops_asking_after_its_budget_is_spent_is_ended() -> None:
    def flow(question: Question) -> Flow:
        while True:
            yield from until_finished(Request(question.prompt))

    with pytest.raises(StrategyError, match="gained no token in 1000 rounds"):
        run(Scripted(flow), [QUESTION], {"local": ScriptedSampler()}, budget=Budget(tokens=5))


def test_a_budget_in_seconds_ends_the_live_branches_with_an_answer_from_what_there_is() -> None:
    clock = Clock(0.0)

    class Slow(ScriptedSampler):
        def step(self, *, wait: bool) -> Sequence[Event]:
            clock.now += 1.0
            assert not wait
            return super().step(wait=wait)

    local = Slow(always(TEN_WORDS))
    (short,) = run(Vote(samples=2), [QUESTION], {"local": local}, budget=Budget(seconds=4.0), clock=clock)

    assert [(c.tokens, c.reason) for c in short.candidates] == [(4, "budget"), (4, "budget")]
    assert (short.cost.drawn_tokens, short.cost.seconds) == (8, 5.0)


class Long(ScriptedSampler):
    """A sampler whose second step would take two hours."""

    seconds = 7200.0

    def __init__(self, clock: Clock) -> None:
        super().__init__(always(TEN_WORDS))
        self.clock = clock
        self.stop: Callable[[], bool] = lambda: False
        self.is_first = True

    def watch(self, stop: Callable[[], bool]) -> None:
        self.stop = stop

    def step(self, *, wait: bool) -> Sequence[Event]:
        while not self.is_first and self.clock.now < self.seconds:
            self.clock.now += 1
            if self.stop():
                self.seconds = 0
                raise Interrupted
        self.is_first = False
        return super().step(wait=wait)


def test_a_budget_in_seconds_interrupts_a_long_step() -> None:
    clock = Clock(0.0)
    local = Long(clock)
    (short,) = run(Vote(samples=2), [QUESTION], {"local": local}, budget=Budget(seconds=60.0), clock=clock)
    assert [(c.tokens, c.reason) for c in short.candidates] == [(1, "budget"), (1, "budget")]
    assert short.cost.seconds == 60.0
    assert not local.stop()


def test_a_drive_that_is_told_to_stop_ends_within_a_long_step() -> None:
    clock = Clock(0.0)
    local = Long(clock)
    ticks = drive(Vote(samples=2), [QUESTION], {"local": local}, clock=clock, stop=lambda: clock.now >= 5)
    with pytest.raises(Interrupted):
        list(ticks)
    assert clock.now == 5
    (whole,) = run(Vote(samples=2), [QUESTION], {"local": local})
    assert whole.cost.branches == 2


@pytest.mark.parametrize("tokens", [None, 1000])
def test_a_budget_in_seconds_ends_a_flow_to_which_nothing_comes(tokens: int | None) -> None:
    clock = Clock()
    (short,) = run(
        Vote(samples=1),
        [QUESTION],
        {"local": ScriptedSampler(silence=0.999)},
        budget=Budget(seconds=3.0, tokens=tokens),
        clock=clock,
    )

    assert short.candidates[0].reason == "budget"


def test_a_budget_in_money_counts_the_branches_that_have_ended() -> None:
    class Priced(ScriptedSampler):
        def step(self, *, wait: bool) -> Sequence[Event]:
            return [
                replace(event, cost=replace(event.cost, money=0.4)) if isinstance(event, Finished) else event
                for event in super().step(wait=wait)
            ]

    def flow(question: Question) -> Flow:
        events: list[Event] = []
        for i in range(5):
            events += yield from until_finished(Request(question.prompt, sample=i))  # type: ignore[misc]
        return answer(" ".join(event.reason for event in events if isinstance(event, Finished)))

    (short,) = run(Scripted(flow), [QUESTION], {"local": Priced()}, budget=Budget(money=1.0))

    assert short.text == "eos eos eos budget budget"
    assert short.cost.money == pytest.approx(1.2)


# --- rules of the interface


def forks_a_stranger(question: Question) -> Flow:
    yield (Request(question.prompt, parent=Request(question.prompt)),)
    return answer()


def forks_past_what_was_seen(question: Question) -> Flow:
    parent = Request(question.prompt)
    events = yield (parent,)
    yield (Request(question.prompt, parent=parent, at=len(events) + 1),)
    return answer()


def forks_to_another_sampler(question: Question) -> Flow:
    parent = Request(question.prompt)
    yield (parent,)
    yield (Request(question.prompt, parent=parent, sampler="big"),)
    return answer()


def forks_with_another_prompt(question: Question) -> Flow:
    parent = Request(question.prompt)
    yield (parent, Request("another", parent=parent))
    return answer()


def goes_on_from_no_parent(question: Question) -> Flow:
    yield (Request(question.prompt, at=2),)
    return answer()


def asks_twice_with_one_request(question: Question) -> Flow:
    request = Request(question.prompt)
    yield (request, request)
    return answer()


def cancels_a_stranger(question: Question) -> Flow:
    yield (Request(question.prompt), Cancel(Request(question.prompt)))
    return answer()


def cancels_past_what_was_seen(question: Question) -> Flow:
    request = Request(question.prompt)
    yield (request,)
    yield (Cancel(request, at=9),)
    return answer()


def waits_for_nothing(question: Question) -> Flow:
    yield ()
    return answer()


def yields_nonsense(question: Question) -> Flow:
    yield ("nonsense",)  # type: ignore[misc]
    return answer()


def returns_nonsense(question: Question) -> Flow:
    yield (Request(question.prompt),)
    return "nonsense"  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        (forks_a_stranger, "the same flow asked for before"),
        (forks_past_what_was_seen, "a fork at 2 of a parent of whom 1 tokens were seen"),
        (forks_to_another_sampler, "a fork to sampler 'big'; its parent is at 'local'"),
        (forks_with_another_prompt, "repeats its parent's prompt"),
        (goes_on_from_no_parent, "at=2 without a parent"),
        (asks_twice_with_one_request, "a Request is one branch"),
        (cancels_a_stranger, "only branches that it asked for"),
        (cancels_past_what_was_seen, "a cancel at 9 of a branch of which 1 tokens were seen"),
        (waits_for_nothing, "none of its branches is alive"),
        (yields_nonsense, "yields Request and Cancel, got 'nonsense'"),
        (returns_nonsense, "returns an Answer, got 'nonsense'"),
    ],
)
def test_a_flow_that_breaks_a_rule_fails_alone(flow: Callable[[Question], Flow], message: str) -> None:
    local = ScriptedSampler()
    samplers = {"local": local, "big": ScriptedSampler()}
    broken, whole = run([Scripted(flow), Vote()], [QUESTION] * 2, samplers, return_errors=True)

    assert isinstance(broken, StrategyError)
    assert message in str(broken)
    assert isinstance(whole, Answer)
    assert local.num_live == 0
    with pytest.raises(StrategyError):
        run(Scripted(flow), [QUESTION], samplers)


def test_a_cancel_of_a_branch_that_has_ended_is_answered_with_no_events() -> None:
    def flow(question: Question) -> Flow:
        request = Request(question.prompt)
        yield (request,)
        events = yield (Cancel(request, at=2),)
        return answer(str(given(events)))

    (short,) = run(Scripted(flow), [QUESTION], {"local": ScriptedSampler(always("a b c"), chunk_size=9)})

    assert (short.text, short.cost.drawn_tokens, short.cost.discarded_tokens) == ("[]", 2, 2)


def test_a_flow_that_cancels_the_same_branch_for_ever_is_ended() -> None:
    def flow(question: Question) -> Flow:
        request = Request(question.prompt)
        yield (request,)
        while True:
            yield (Cancel(request),)

    with pytest.raises(StrategyError, match="gained no token in 1000 rounds"):
        run(Scripted(flow), [QUESTION], {"local": ScriptedSampler(always("a"), chunk_size=9)})


def test_a_branch_may_be_cancelled_in_the_list_that_asks_for_it() -> None:
    def flow(question: Question) -> Flow:
        request = Request(question.prompt)
        events = yield (request, Cancel(request))
        return answer(str(given(events)))

    (short,) = run(Scripted(flow), [QUESTION], {"local": ScriptedSampler()})

    assert short.text == "[(0, 'cancelled')]"


# --- faults of samplers


def test_a_question_that_does_not_fit_does_not_lose_the_others() -> None:
    questions = [Question(prompt="short"), Question(prompt=" ".join(["long"] * 99)), Question(prompt="short too")]
    local = ScriptedSampler(context_length=50)

    outcomes = run(Vote(), questions, {"local": local}, return_errors=True)

    assert [type(outcome) for outcome in outcomes] == [Answer, PromptTooLong, Answer]
    with pytest.raises(PromptTooLong):
        run(Vote(), questions, {"local": local})
    assert local.num_live == 0


def test_a_refusal_by_one_sampler_stops_the_questions_branches_at_the_others() -> None:
    def flow(question: Question) -> Flow:
        yield from until_finished(Request(question.prompt), Request(question.prompt, sampler="big"))
        return answer()

    local, big = ScriptedSampler(), ScriptedSampler(context_length=1)
    (outcome,) = run(Scripted(flow), [QUESTION], {"local": local, "big": big}, return_errors=True)

    assert isinstance(outcome, PromptTooLong)
    assert len(local.cancelled) == 1


def test_a_sampler_that_fails_in_a_step_fails_the_flows_that_have_a_branch_there() -> None:
    local, big = ScriptedSampler(), ScriptedSampler(fail_at_step=2)
    strategies = [Vote(), Vote(sampler="big"), EarlyStop()]

    outcomes = run(strategies, [QUESTION] * 3, {"local": local, "big": big}, return_errors=True)

    assert [type(outcome) for outcome in outcomes] == [Answer, BackendError, Answer]
    assert big.num_live == 0


def test_any_error_of_a_step_is_a_backend_error() -> None:
    class Odd(ScriptedSampler):
        def step(self, *, wait: bool) -> Sequence[Event]:
            raise InvalidRequest("too late")

    with pytest.raises(BackendError, match="sampler 'local' failed: too late") as caught:
        run(Vote(), [QUESTION], {"local": Odd()})

    assert isinstance(caught.value.__cause__, InvalidRequest)


def test_an_error_that_a_flow_raises_on_purpose_is_its_questions_outcome() -> None:
    def flow(question: Question) -> Flow:
        yield (Request(question.prompt),)
        raise LiteError("no such thing")

    outcomes = run([Scripted(flow), Vote()], [QUESTION] * 2, {"local": ScriptedSampler()}, return_errors=True)

    assert str(outcomes[0]) == "no such thing"
    assert isinstance(outcomes[1], Answer)

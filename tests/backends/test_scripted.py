"""The scripted sampler keeps the whole protocol, so that a strategy that works with it works with the others."""

from collections.abc import Sequence

import pytest

from lite.backends.scripted import ScriptedSampler, ScriptedToken, by_prompt, lineage, prompt_text, words
from lite.errors import BackendError, InvalidRequest, PromptTooLong
from lite.ledger import Ledger
from lite.params import Chat, SamplingParams
from lite.sampler import Chunk, Event, Finished, Request, Traits


def drain(sampler: ScriptedSampler) -> list[Event]:
    events: list[Event] = []
    while sampler.num_live or sampler.num_waiting or not sampler.num_steps:
        events += sampler.step(wait=True)
    return events


def draw(sampler: ScriptedSampler, *requests: Request) -> list[Event]:
    sampler.start(requests)
    return drain(sampler)


def texts(events: Sequence[Event], request: Request) -> list[str]:
    chunks = [event for event in events if isinstance(event, Chunk) and event.request is request]
    return [text for chunk in chunks if chunk.start >= 0 for text in chunk.texts]


def ends(events: Sequence[Event]) -> dict[Request, Finished]:
    finished = [event for event in events if isinstance(event, Finished)]
    assert len({event.request for event in finished}) == len(finished)  # exactly once each
    return {event.request: event for event in finished}


def values(events: Sequence[Event], request: Request) -> list[tuple[object, ...]]:
    """Every token of a branch with all that is told of it, whatever the chunks."""
    told: list[tuple[object, ...]] = []
    for event in events:
        if isinstance(event, Chunk) and event.request is request:
            columns = (event.ids, event.texts, event.logprobs, event.entropy, event.certainty, event.top)
            rows = zip(*(column or (None,) * len(event.ids) for column in columns), strict=True)
            told += [(event.start + i, *row) for i, row in enumerate(rows)]
    return told


def say(text: str, **options: object) -> ScriptedSampler:
    return ScriptedSampler(lambda request: text, **options)  # type: ignore[arg-type]


def test_words_join_to_the_text_again() -> None:
    assert words("one  two\nthree ") == ["one", "  two", "\nthree", " "]
    assert words("") == []


def test_says_the_script_word_by_word_and_ends_with_an_empty_text() -> None:
    request = Request("q")
    events = draw(say("one two"), request)

    assert texts(events, request) == ["one", " two", ""]
    assert ends(events)[request].reason == "eos"
    last = events[-2]
    assert isinstance(last, Chunk)
    assert last.ids == (0,)


def test_a_table_gives_each_prompt_its_samples_in_turn() -> None:
    sampler = ScriptedSampler(by_prompt({"q": ["a", "b"], "be brief\nq": ["c"]}))
    plain = [Request("q", sample=i) for i in range(3)]
    chat = Request(Chat.ask("q", system="be brief"))
    events = draw(sampler, *plain, chat)

    assert [texts(events, request)[0] for request in (*plain, chat)] == ["a", "b", "a", "c"]
    assert prompt_text((1, 2)) == "1 2"


def test_told_statistics_are_kept_and_the_others_made_up_by_lineage() -> None:
    tokens = [ScriptedToken(text="a", id=5, logprob=-0.5, certainty=3.0, top=((5, -0.5), (6, -1.0)))]
    request = Request("q", SamplingParams(top_logprobs=1))
    position, token, text, logprob, entropy, certainty, top = values(
        draw(ScriptedSampler(lambda _: tokens), request), request
    )[0]

    assert (position, token, text, logprob, certainty, top) == (0, 5, "a", -0.5, 3.0, ((5, -0.5),))
    assert isinstance(entropy, float)


@pytest.mark.parametrize("options", [{"chunk_size": 3}, {"chunk_size": 9, "ragged": True, "silence": 0.5}])
@pytest.mark.parametrize("num_slots", [1, 2, None])
def test_a_branch_says_the_same_whatever_its_arrival(options: dict[str, object], num_slots: int | None) -> None:
    def told(sampler: ScriptedSampler) -> list[list[tuple[object, ...]]]:
        params = SamplingParams(top_logprobs=2)
        requests = [Request("q", params, sample=i, prefix="So", score=True) for i in range(4)]
        events = draw(sampler, *requests)
        assert len(ends(events)) == 4
        return [values(events, request) for request in requests]

    sampler = ScriptedSampler(shuffle=True, num_slots=num_slots, **options)  # type: ignore[arg-type]

    assert told(sampler) == told(ScriptedSampler())


def test_what_a_branch_says_follows_from_its_lineage() -> None:
    parent = Request("q")
    same = [Request("q"), Request("q", SamplingParams(max_tokens=9))]
    others = [
        Request("p"),
        Request("q", sample=1),
        Request("q", SamplingParams(seed=1)),
        Request("q", prefix="So"),
        Request("q", sampler="big"),
        Request("q", parent=parent),
        Request("q", parent=parent, at=1),
        Request("q", parent=Request("q", sample=1), at=1),
    ]

    assert {lineage(request) for request in same} == {lineage(parent)}
    assert len({lineage(request) for request in (parent, *others)}) == 1 + len(others)


def test_greedy_branches_differ_by_no_sample() -> None:
    greedy = SamplingParams(temperature=0)

    assert lineage(Request("q", greedy, sample=3)) == lineage(Request("q", greedy))


@pytest.mark.parametrize("chunk_size", [1, 2, 9])
@pytest.mark.parametrize(
    ("stop", "expected", "reason"),
    [
        ((" two",), ["one", ""], "stop"),
        (("e tw",), ["on", ""], "stop"),
        (("o th", "three"), ["one", " tw", ""], "stop"),
        (("absent",), ["one", " two", " three", ""], "eos"),
    ],
)
def test_stop_strings_may_span_tokens(chunk_size: int, stop: tuple[str, ...], expected: list[str], reason: str) -> None:
    request = Request("q", SamplingParams(stop=stop))
    events = draw(say("one two three", chunk_size=chunk_size), request)

    assert texts(events, request) == expected
    assert ends(events)[request].reason == reason
    assert ends(events)[request].cost.drawn_tokens == len(expected)


@pytest.mark.parametrize(("max_tokens", "reason"), [(1, "length"), (2, "length"), (3, "eos")])
def test_max_tokens_counts_the_end_of_turn(max_tokens: int, reason: str) -> None:
    request = Request("q", SamplingParams(max_tokens=max_tokens))
    events = draw(say("one two", chunk_size=9), request)

    assert len(texts(events, request)) == max_tokens
    assert ends(events)[request].reason == reason


def test_a_scored_prefix_comes_first_at_positions_below_zero() -> None:
    scored, forced = Request("q", prefix="so be it", score=True), Request("q", prefix="so be it")
    events = draw(say("a"), scored, forced)

    assert [value[0] for value in values(events, scored)] == [-3, -2, -1, 0, 1]
    assert [value[0] for value in values(events, forced)] == [0, 1]
    assert [finished.cost.forced_tokens for finished in ends(events).values()] == [3, 3]


def test_forks_share_what_came_before_and_count_from_zero() -> None:
    sampler = say("one two three four", chunk_size=2)
    parent = Request("the question", prefix="so")
    sampler.start([parent])
    sampler.step(wait=True)
    fork = Request("the question", parent=parent, at=2, prefix="The answer is")
    events = draw(sampler, fork)

    assert texts(events, fork)[0] == "one"
    assert ends(events)[fork].cost == Ledger(cached_tokens=5, forced_tokens=3, drawn_tokens=5, branches=1)


def test_a_branch_that_has_ended_can_be_forked() -> None:
    sampler = say("one two")
    parent = Request("q")
    draw(sampler, parent)
    fork = Request("q", parent=parent, at=3)

    assert ends(draw(sampler, fork))[fork].cost.cached_tokens == 4


def test_equal_prompts_of_one_list_are_read_once() -> None:
    requests = [Request("one two", sample=i) for i in range(3)]
    costs = [finished.cost for finished in ends(draw(say("a"), *requests, Request("three"))).values()]

    assert [cost.prompt_tokens for cost in costs] == [2, 0, 0, 1]
    assert [cost.cached_tokens for cost in costs] == [0, 2, 2, 0]


@pytest.mark.parametrize(("at", "drawn", "discarded"), [(None, 4, 0), (1, 1, 3), (0, 0, 4), (9, 4, 0)])
def test_a_cancel_discards_what_was_told_past_its_position(at: int | None, drawn: int, discarded: int) -> None:
    sampler = say("a b c d e f", chunk_size=4)
    request = Request("q")
    sampler.start([request])
    sampler.step(wait=True)
    sampler.cancel(request, at, "budget")
    sampler.cancel(request)
    assert sampler.num_live == 0

    (finished,) = sampler.step(wait=True)

    assert isinstance(finished, Finished)
    assert (finished.reason, finished.cost.drawn_tokens, finished.cost.discarded_tokens) == ("budget", drawn, discarded)
    assert sampler.cancelled == [(request, at, "budget")]
    assert sampler.step(wait=True) == []


def test_a_branch_that_is_cancelled_before_its_turn_costs_nothing() -> None:
    sampler = say("a", num_slots=1)
    first, second = Request("q"), Request("q", sample=1)
    sampler.start([first, second])
    sampler.step(wait=True)
    sampler.cancel(second)

    assert sampler.num_waiting == 0
    assert ends(drain(sampler))[second].cost == Ledger(branches=1)


def test_branches_wait_for_a_slot_first_in_first_out() -> None:
    sampler = say("a b", num_slots=2, chunk_size=9)
    requests = [Request("q", sample=i) for i in range(5)]
    sampler.start(requests)
    ticks = [sampler.step(wait=True) for _ in range(3)]
    order = [[event.request.sample for event in events if isinstance(event, Finished)] for events in ticks]

    assert order == [[0, 1], [2, 3], [4]]


def test_lacks_the_statistics_that_it_was_made_without() -> None:
    request = Request("q")
    sampler = say("a", can=frozenset({"certainty"}), traits=Traits("<t>", "</t>"))
    chunk = draw(sampler, request)[0]

    assert isinstance(chunk, Chunk)
    assert (chunk.logprobs, chunk.entropy, chunk.top, len(chunk.certainty)) == ((), (), (), 1)
    assert sampler.traits == Traits("<t>", "</t>")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Request("q", parent=Request("q")), "never started here"),
        (Request("q", prefix="So"), "made without prefix"),
        (Request("q", score=True), "made without score"),
        (Request("q", SamplingParams(top_logprobs=1)), "made without top"),
    ],
)
def test_refuses_a_list_whole(bad: Request, message: str) -> None:
    sampler = say("a", can=frozenset({"fork"}))
    with pytest.raises(InvalidRequest, match=message):
        sampler.start([Request("q"), bad])

    assert (sampler.num_waiting, sampler.started) == (0, [])


def test_refuses_forks_past_what_was_told_and_requests_used_twice() -> None:
    sampler = say("a b c")
    parent = Request("q")
    sampler.start([parent])
    sampler.step(wait=True)

    with pytest.raises(InvalidRequest, match="a fork at 2 of a branch that has 1 tokens"):
        sampler.start([Request("q", parent=parent, at=2)])
    with pytest.raises(InvalidRequest, match="a Request is one branch"):
        sampler.start([parent])


def test_refuses_a_prompt_that_leaves_no_room_for_a_token() -> None:
    sampler = say("a", context_length=4)
    sampler.start([Request("one two", prefix="three")])

    with pytest.raises(PromptTooLong, match="5 words with one new token, the context holds 4"):
        sampler.start([Request("one two", prefix="three four")])


def test_fails_at_the_step_that_was_chosen_and_once_closed() -> None:
    sampler = say("a b c", fail_at_step=2)
    sampler.start([Request("q")])
    sampler.step(wait=True)
    with pytest.raises(BackendError, match="fails at step 2"):
        sampler.step(wait=True)

    sampler.close()
    sampler.close()
    with pytest.raises(BackendError):
        sampler.step(wait=True)
    with pytest.raises(BackendError, match="closed"):
        sampler.start([Request("q")])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk_size": 0}, "chunk_size must be at least 1, got 0"),
        ({"num_slots": 0}, "num_slots must be at least 1 or None, got 0"),
        ({"silence": 1.0}, r"silence must be in \[0, 1\), got 1.0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        say("a", **options)

"""Samples are drawn once for all strategies, and no strategy notices."""

from collections.abc import Sequence

from lite.backends.scripted import ScriptedSampler
from lite.evaluate.shared import SharedSampler, branch_key, stream_key
from lite.params import Chat, SamplingParams
from lite.runner import Budget, drive
from lite.sampler import Answer, Chunk, Event, Finished, Question, Request
from lite.strategies import STRATEGIES
from lite.strategies.settings import make
from tests.strategies.toys import told

LOCAL = [name for name, kind in STRATEGIES.items() if set(kind().needs) <= {"local"}]


def answers(sampler: ScriptedSampler | SharedSampler, names: Sequence[str], concurrency: int | None) -> list[Answer]:
    params = SamplingParams(max_tokens=50)
    jobs = [
        (make(name, samples=5, params=params), Question(prompt=f"question {i}")) for i in range(2) for name in names
    ]
    strategies, questions = zip(*jobs, strict=True)
    found: dict[int, Answer] = {}
    for tick in drive(
        list(strategies), questions, {"local": sampler}, concurrency=concurrency, budget=Budget(tokens=10**9)
    ):
        found |= {index: outcome for index, outcome in tick.outcomes.items() if isinstance(outcome, Answer)}
    return [found[index] for index in range(len(jobs))]


def test_every_strategy_answers_as_if_it_were_alone() -> None:
    alone = [told(answer) for answer in answers(ScriptedSampler(), LOCAL, None)]
    inner = ScriptedSampler(chunk_size=4, ragged=True, num_slots=7, shuffle=True, silence=0.2)
    shared = SharedSampler(inner)
    assert [told(answer) for answer in answers(shared, LOCAL, 9)] == alone
    separate = sum(answer.cost.branches for answer in answers(ScriptedSampler(), LOCAL, None))
    assert sum(map(len, inner.started)) < separate / 2
    assert inner.num_live == inner.num_waiting == 0


def test_equal_requests_are_one_branch_and_each_has_its_events() -> None:
    inner = ScriptedSampler(lambda _: "one two three", chunk_size=2)
    shared = SharedSampler(inner, top_logprobs=3)
    first, second = Request("?"), Request("?", SamplingParams(top_logprobs=1))
    shared.start([first])
    events = [*shared.step(wait=True)]
    shared.start([second])
    while not (_ended(events, first) and _ended(events, second)):
        events += shared.step(wait=True)
    assert len([request for batch in inner.started for request in batch]) == 1
    for request, top in ((first, 0), (second, 1)):
        chunks = [event for event in events if isinstance(event, Chunk) and event.request is request]
        assert "".join(text for chunk in chunks for text in chunk.texts) == "one two three"
        assert {len(best) for chunk in chunks for best in chunk.top} == ({top} if top else set())


def test_a_branch_that_tells_too_little_is_not_shared_even_if_both_start_together() -> None:
    shared = SharedSampler(ScriptedSampler(lambda _: "one two"))
    plain, asking, third = Request("?"), Request("?", SamplingParams(top_logprobs=2)), Request("?")
    shared.start([plain, asking, third])
    events: list[Event] = []
    while not all(_ended(events, request) for request in (plain, asking, third)):
        events += shared.step(wait=True)
    told = [best for event in events if isinstance(event, Chunk) and event.request is asking for best in event.top]
    assert {len(best) for best in told} == {2}


def _ended(events: Sequence[Event], request: Request) -> bool:
    return any(isinstance(event, Finished) and event.request is request for event in events)


def test_a_branch_stops_when_its_last_follower_leaves() -> None:
    inner = ScriptedSampler(lambda _: " word" * 30)
    shared = SharedSampler(inner)
    first, second = Request("?"), Request("?")
    shared.start([first, second])
    for _ in range(3):
        shared.step(wait=True)
    shared.cancel(first, 2)
    (left,) = [event for event in shared.step(wait=True) if isinstance(event, Finished)]
    assert (left.request, left.cost.drawn_tokens, left.cost.discarded_tokens) == (first, 2, 1)
    assert inner.num_live == 1
    shared.cancel(second, 4)
    events = shared.step(wait=True)
    assert [event.request for event in events if isinstance(event, Finished)] == [second]
    assert inner.num_live == 0
    third = Request("?")
    shared.start([third])
    assert inner.num_waiting == 1, "what was stopped is drawn anew"


def test_forks_of_shared_branches_are_shared() -> None:
    inner = ScriptedSampler(lambda _: "one two three")
    shared = SharedSampler(inner)
    parents = [Request("?"), Request("?")]
    shared.start(parents)
    shared.step(wait=True)
    forks = [Request("?", prefix=" so", parent=parent, at=1) for parent in parents]
    shared.start(forks)
    assert sum(map(len, inner.started)) == 2


def test_keys_tell_apart_whatever_draws_other_tokens() -> None:
    params = SamplingParams()
    requests = [
        Request("?"),
        Request("!"),
        Request(Chat.ask("?")),
        Request(Chat.ask("?", thinking=False)),
        Request((1, 2)),
        Request("?", sample=1),
        Request("?", SamplingParams(seed=1)),
        Request("?", SamplingParams(temperature=0.5)),
        Request("?", prefix="x"),
        Request("?", sampler="remote"),
        Request("?", SamplingParams(max_tokens=5)),
    ]
    assert len({branch_key(request, None) for request in requests}) == len(requests)
    assert branch_key(requests[0], "parent") != branch_key(requests[0], None)
    assert branch_key(Request("?", SamplingParams(top_logprobs=4)), None) == branch_key(Request("?", params), None)
    assert stream_key(requests[-1], None) == stream_key(requests[0], None)

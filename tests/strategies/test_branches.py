import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lite.errors import BackendError
from lite.ledger import Ledger
from lite.params import SamplingParams
from lite.sampler import Chunk, Finished, Question, Request
from lite.strategies.branches import Branch, draw, requests_of


def two() -> tuple[Request, ...]:
    return requests_of(Question(prompt="?"), samples=2, params=SamplingParams(), sampler="local")


def test_the_first_samples_are_the_same_requests_whatever_their_number() -> None:
    assert [request.sample for request in two()] == [0, 1]
    assert len({*two(), *two()}) == 4


def test_a_flow_ends_when_all_branches_have_and_returns_them_in_order() -> None:
    first, second = two()
    flow = draw((first, second))
    assert next(flow) == (first, second)
    assert flow.send([Chunk(second, 0, (5,), ("b",), (-1.0,)), Finished(second, "eos", Ledger())]) == ()
    assert flow.send([]) == ()
    assert flow.send([Chunk(first, 0, (4,), ("a",)), Chunk(first, 1, (0,), ("",))]) == ()
    with pytest.raises(StopIteration) as stop:
        flow.send([Finished(first, "length", Ledger())])
    assert [(b.text, b.tokens, b.reason) for b in stop.value.value] == [("a", 2, "length"), ("b", 1, "eos")]


def test_events_of_strangers_are_passed_over() -> None:
    mine, other = two()
    flow = draw((mine,))
    next(flow)
    flow.send([Chunk(other, 0, (1,), ("x",))])
    with pytest.raises(StopIteration) as stop:
        flow.send([Finished(mine, "budget", Ledger())])
    assert stop.value.value[0].text == ""


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(st.lists(st.integers(1, 4), max_size=8))
def test_means_are_the_same_for_every_chunk_size(sizes: list[int]) -> None:
    request = two()[0]
    whole, pieces = Branch(request), Branch(request)
    count = sum(sizes)
    ids, values = tuple(range(count)), tuple(0.1 * i for i in range(count))
    whole.add(Chunk(request, 0, ids, ("a",) * count, values, values, values))
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        pieces.add(Chunk(request, start, ids[part], ("a",) * size, values[part], values[part], values[part]))
        start += size
    assert (pieces.mean_certainty, pieces.mean_logprob) == (whole.mean_certainty, whole.mean_logprob)
    assert pieces.text == whole.text


def test_a_scored_prefix_is_no_part_of_the_completion() -> None:
    request = two()[0]
    scored = Branch(request)
    scored.add(Chunk(request, -2, (8, 9), ("p", "q"), (-1.0, -1.0)))
    scored.add(Chunk(request, 0, (1,), ("a",), (-3.0,)))
    assert (scored.text, scored.mean_logprob, scored.mean_certainty) == ("a", -3.0, None)


def test_a_token_told_twice_counts_once_and_a_gap_is_the_samplers_fault() -> None:
    request = two()[0]
    told = Branch(request)
    told.add(Chunk(request, 0, (1, 2), ("a", "b")))
    told.add(Chunk(request, 1, (2, 3), ("b", "c")))
    assert told.text == "abc"
    with pytest.raises(BackendError, match="tokens 3 to 4 never arrived"):
        told.add(Chunk(request, 5, (6,), ("f",)))


def test_a_branch_without_tokens_has_no_means() -> None:
    empty = Branch(two()[0])
    assert (empty.mean_logprob, empty.mean_certainty, empty.text) == (None, None, "")

"""The longest common prefix, and what the slots share of it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from lite.engine.slots import common_prefix

TOKENS = st.lists(st.integers(0, 2), max_size=12)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(TOKENS, TOKENS, TOKENS, st.integers(0, 30))
def test_common_prefix_is_where_two_lists_first_differ(
    head: list[int], left: list[int], right: list[int], limit: int
) -> None:
    one, other = head + left, head + right
    pairs = list(zip(one, other, strict=False))[:limit]
    plain = next((index for index, (a, b) in enumerate(pairs) if a != b), len(pairs))
    assert common_prefix(one, other, limit) == plain

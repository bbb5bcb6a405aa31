"""Numbers in the log read back bit for bit."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lite.evaluate.columns import pack_floats, unpack_floats

quick = settings(max_examples=60, derandomize=True, deadline=None, database=None)


def bits(values: tuple[float, ...]) -> bytes:
    return struct.pack(f"<{len(values)}d", *values)


@given(st.lists(st.floats(), max_size=20).map(tuple))
@quick
def test_every_float_reads_back_bit_for_bit(values: tuple[float, ...]) -> None:
    assert bits(unpack_floats(pack_floats(values))) == bits(values)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20).map(tuple))
@quick
def test_float32_values_take_four_bytes_each(values: tuple[float, ...]) -> None:
    text = pack_floats(values)
    assert text.startswith("f4:")
    assert unpack_floats(text) == values


@pytest.mark.parametrize("text", ["f2:AAAA", "1.5", "f4:AAA=A", "f4:AAAAAAA=", "f4:å"])
def test_a_damaged_column_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="column"):
        unpack_floats(text)

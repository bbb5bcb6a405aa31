"""Counter-based random numbers: the same on every engine, in every batch and on every host.

Threefry-2x32 with 20 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) turns a key and a
counter of two 32-bit words each into two random words. A branch owns a key, its stream; the counter is (drawn
position, token id). Token ids lie below 2**31, so the ids above are free to keep other uses apart.

Everything up to the logarithm is integer or exactly rounded float32 arithmetic that another implementation can repeat
bit for bit; only the last bit of `log1p` is the platform's own.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["FIRST_BLOCK_ID", "branch_stream", "exponentials", "fork_stream", "threefry_2x32"]

FIRST_BLOCK_ID = 0x80000000
"""The id that stands for the first block of tokens in the race of `lite.sampling`; the next blocks' ids follow."""

_STREAM_ID = 0xFFFFFFFE  # where a token id would stand: the words make a stream, not a draw
_WORD = 1 << 32
_ROTATIONS = [
    [(np.array(bits, np.uint32), np.array(32 - bits, np.uint32)) for bits in group]
    for group in ((13, 15, 26, 6), (17, 29, 16, 24))
]  # to the left; as arrays, for a ufunc takes twice as long over a scalar as over a few words
_PARITY = np.uint32(0x1BD11BDA)
_BELOW_ONE = np.float32(1 - 2**-24)

Words = NDArray[np.uint32]


def threefry_2x32(key: tuple[Words, Words], counter: tuple[Words, Words]) -> tuple[Words, Words]:
    """Two random words for each key and counter: uint32 arrays of at least one axis, broadcast together."""
    schedule = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    shape = np.broadcast_shapes(*(words.shape for words in (*key, *counter)))
    first, second, spare = np.empty((3, *shape), dtype=np.uint32)
    np.add(counter[0], key[0], out=first)
    np.add(counter[1], key[1], out=second)
    for injection in range(1, 6):
        for left, right in _ROTATIONS[(injection - 1) % 2]:
            first += second
            np.left_shift(second, left, out=spare)
            np.right_shift(second, right, out=second)
            second |= spare
            second ^= first
        first += schedule[injection % 3]
        second += schedule[(injection + 1) % 3] + np.uint32(injection)
    return first, second


def branch_stream(seed: int, sample: int) -> tuple[int, int]:
    """The stream of the `sample`-th branch of a request: seed in [0, 2**64), sample in [0, 2**32)."""
    if not 0 <= seed < _WORD**2:
        raise ValueError(f"seed must be in [0, 2**64), got {seed}")
    return _derive((seed % _WORD, seed // _WORD), "sample", sample)


def fork_stream(stream: tuple[int, int], at: int, sample: int) -> tuple[int, int]:
    """The stream of the `sample`-th fork of a branch after its first `at` drawn tokens; both in [0, 2**32)."""
    return _derive(_derive(stream, "at", at), "sample", sample)


def _derive(key: tuple[int, int], name: str, number: int) -> tuple[int, int]:
    if not 0 <= number < _WORD:
        raise ValueError(f"{name} must be in [0, 2**32), got {number}")
    words = np.array([*key, number, _STREAM_ID], dtype=np.uint32)
    first, second = threefry_2x32((words[0:1], words[1:2]), (words[2:3], words[3:4]))
    return int(first[0]), int(second[0])


def exponentials(streams: Words, positions: Words, token_ids: Words) -> NDArray[np.float32]:
    """Exp(1) variates, one for each (stream, position, token id).

    `streams` is of shape (n, 2), `positions` (n,), `token_ids` and the result (n, k).
    """
    key = (streams[:, 0:1], streams[:, 1:2])
    return _exponentials(*threefry_2x32(key, (positions[:, None], token_ids)))


def _exponentials(high: Words, low: Words) -> NDArray[np.float32]:
    """-log(1 - u) in [2**-64, 24 ln 2], where u has 64 random bits behind the point.

    So the small variates, which win races, are as fine as float32 allows.
    """
    uniform = high.astype(np.float32)
    uniform *= np.float32(2**-32)
    fine = (low | np.uint32(1)).astype(np.float32)  # so that u is never 0
    fine *= np.float32(2**-64)
    uniform += fine
    np.minimum(uniform, _BELOW_ONE, out=uniform)  # the 128 highest words round up to 1
    np.negative(uniform, out=uniform)
    np.log1p(uniform, out=uniform)
    return np.negative(uniform, out=uniform)

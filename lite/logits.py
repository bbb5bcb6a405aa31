"""Passes over rows of raw logits that are fast in NumPy: sums, moments, and the best tokens without a sort.

A row's results have the same bits whatever rows stand beside it: every reduction runs within a row, in an order that
depends on the row's length alone. Logits are float32 of shape (rows, V); no function changes them.
"""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lite.errors import BackendError

__all__ = ["MASK", "Index", "Logits", "Moments", "best", "fold", "is_sound", "measure", "parts", "sums"]

Logits: TypeAlias = NDArray[np.float32]
Index: TypeAlias = NDArray[np.int64]
Moments: TypeAlias = NDArray[np.float64]
"""Shape (5, rows): the peak; how many tokens are unmasked; over these the sums of s, exp(s), s exp(s), s = z - peak."""

MASK = np.float32(-1e30)
"""Logits down to here and -inf are a model's own mask."""

_MASKED_SUM = -1e25  # no sum of true logits is below it; with one masked logit every sum is
_PART_SIZE = 1 << 19  # logits handled together: fewer cost more calls, more leave the cache
_NUM_BLOCKS = 8  # for each of the best tokens: enough that few others pass the threshold
_FEWEST_BLOCKS = 512


def parts(logits: Logits) -> Iterator[tuple[slice, Logits, Logits]]:
    """Some successive rows after the others, with two scratch arrays of their shape."""
    num_rows, vocab_size = logits.shape
    size = max(1, min(num_rows, _PART_SIZE // vocab_size))
    scratch = np.empty((2, size, vocab_size), dtype=np.float32)
    for start in range(0, num_rows, size):
        count = min(size, num_rows - start)
        yield slice(start, start + count), scratch[0, :count], scratch[1, :count]


def is_sound(peak: Logits) -> NDArray[np.bool_]:
    """Whether rows with these maxima have a finite logit, no NaN (which `max` lets through) and no +inf."""
    return (peak > MASK) & (peak < np.inf)


def measure(logits: Logits, shifted: Logits, weights: Logits) -> Moments:
    """Each row's moments; leaves exp(z - peak) in `weights`, while `shifted` is scratch.

    Raises BackendError for non-finite logits.
    """
    peak = logits.max(axis=1)
    for value in peak[~is_sound(peak)]:
        raise BackendError(
            f"the engine gave non-finite logits: the largest of a row is {value}; "
            "the model's weights or their format are broken"
        )
    np.subtract(logits, peak[:, None], out=shifted)
    size = np.full(len(logits), logits.shape[1])
    shift = sums(shifted)
    np.exp(shifted, out=weights)
    if shift.min() < _MASKED_SUM:
        unmasked = logits > MASK
        size = unmasked.sum(axis=1)
        shifted[~unmasked] = 0
        shift = sums(shifted)
    return np.array([peak, size, shift, sums(weights), sums(shifted, weights)])


def sums(values: Logits, factors: Logits | None = None) -> NDArray[np.float64]:
    """Each row's sum: float32 partial sums of so few terms that they lose nothing, summed as float64."""
    lanes = 4 << values.shape[1].bit_length() // 2
    sums: NDArray[np.float64] = fold(values, lanes, factors).sum(axis=1, dtype=np.float64)
    return sums


def fold(values: Logits, lanes: int, factors: Logits | None = None) -> Logits:
    """Sums over the tokens lane, lane + lanes, lane + 2 lanes, ...: shape (rows, lanes), or fewer for a short row.

    Lanes rather than stretches of tokens, so that one addition runs over contiguous memory. With `factors`, of the
    same shape, sums of products.
    """
    rows, length = values.shape
    lanes = min(lanes, length)
    whole = length - length % lanes
    heads = [array[:, :whole].reshape(rows, -1, lanes) for array in (values, factors) if array is not None]
    sums: Logits = heads[0].sum(axis=1) if factors is None else np.einsum("rkl,rkl->rl", *heads)
    tail = values[:, whole:]
    sums[:, : length - whole] += tail if factors is None else tail * factors[:, whole:]
    return sums


def best(logits: Logits, best_ids: Index, best_logits: Logits) -> None:
    """Each row's best tokens, best first, ties by the lower id, into arrays of shape (rows, best).

    Where fewer are unmasked, the remaining ids become -1 and their logits -inf. Nothing of the vocabulary's size is
    sorted: the k-th largest maximum of disjoint blocks bounds the k-th largest logit from below.
    """
    count = best_ids.shape[1]
    best_ids[:] = -1
    best_logits[:] = -np.inf
    reached = logits >= _thresholds(_block_maxima(logits, count), count)[:, None]
    for row, (row_logits, row_reached) in enumerate(zip(logits, reached, strict=True)):
        (ids,) = row_reached.nonzero()
        candidates = row_logits[ids]
        order = (-candidates).argsort(kind="stable")[:count]
        best_ids[row, : len(order)] = ids[order]
        best_logits[row, : len(order)] = candidates[order]


def _block_maxima(logits: Logits, num_best: int) -> Logits:
    """Maxima of disjoint blocks that cover the vocabulary, laid out as in `fold`: several for each of the best."""
    rows, length = logits.shape
    blocks = min(length, max(_NUM_BLOCKS * num_best, _FEWEST_BLOCKS))
    whole = length - length % blocks
    maxima: Logits = logits[:, :whole].reshape(rows, -1, blocks).max(axis=1)
    tail = maxima[:, : length - whole]
    np.maximum(tail, logits[:, whole:], out=tail)
    return maxima


def _thresholds(maxima: Logits, count: int) -> Logits:
    """Values that at least `count` unmasked logits of each row reach, or all of them do: shape (rows,)."""
    lowest = np.nextafter(MASK, np.float32(0))
    blocks = maxima.shape[1]
    if blocks <= count:
        return np.full(len(maxima), lowest)
    return np.maximum(np.partition(maxima, blocks - count, axis=1)[:, blocks - count], lowest)

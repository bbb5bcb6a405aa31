"""Weights as ONNX Runtime's kernels want them: integers by row or by block, heads padded, rotary pairs as halves."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK_SIZE", "HeadLayout", "pack_blocks", "pack_rows"]

BLOCK_SIZE = 32  # the only one whose kernels give a row the same bits alone and among others (measured, 1.31)
_ROWS_AT_ONCE = 4096


def pack_rows(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """One scale a row: integers of shape (in, out), transposed for MatMulIntegerToFloat, and scales (out,)."""
    codes = np.empty(matrix.shape[::-1], np.int8)
    scales = np.abs(matrix).max(axis=1) / np.float32(127)
    for part in _slices(matrix):
        codes[:, part] = np.rint(matrix[part] / _divisors(scales[part])[:, None]).T
    return codes, scales


def pack_blocks(matrix: NDArray[np.float32], bits: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """One scale for 32 neighbours of a row: (out, blocks, 4 * bits) bytes and (out, blocks) scales.

    The zero point is 2 ** (bits - 1). Four bits scale by the signed largest value, as llama.cpp's Q4_0 does, eight
    by its magnitude, as Q8_0 does: a file of that type loses nothing more here.
    """
    num_blocks = -(-matrix.shape[1] // BLOCK_SIZE)
    codes = np.empty((len(matrix), num_blocks, BLOCK_SIZE * bits // 8), np.uint8)
    scales = np.empty((len(matrix), num_blocks), np.float32)
    for part in _slices(matrix):
        codes[part], scales[part] = _packed(matrix[part], bits)
    return codes, scales


def _packed(matrix: NDArray[np.float32], bits: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    padded = np.pad(matrix, ((0, 0), (0, -matrix.shape[1] % BLOCK_SIZE)))
    blocks = padded.reshape(len(matrix), -1, BLOCK_SIZE)
    zero = 1 << (bits - 1)
    if bits == 4:
        largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=-1, keepdims=True), axis=-1)[..., 0]
        scales = largest / np.float32(-zero)
    else:
        scales = np.abs(blocks).max(axis=-1) / np.float32(zero - 1)
    integers = np.rint(blocks / _divisors(scales)[..., None]) + zero
    codes = np.clip(integers, 0, 2 * zero - 1).astype(np.uint8)
    return (codes[..., 0::2] | codes[..., 1::2] << 4 if bits == 4 else codes), scales


@dataclass(frozen=True, slots=True)
class HeadLayout:
    """Attention heads as GroupQueryAttention wants them: a multiple of 16 wide, rotary pairs in two halves.

    The new columns are zeros, so the function stays exactly the same; each half is padded by itself, so that a
    pair's members stay half a head apart.
    """

    head_dim: int
    interleaved: bool  # the file's rotary pairs are neighbours

    @property
    def padded_dim(self) -> int:
        return -(-self.head_dim // 16) * 16

    def rotary(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows of a query or key projection, (heads * head_dim, ...) -> (heads * padded_dim, ...)."""
        pairs = self.head_dim // 2
        shape = (-1, pairs, 2) if self.interleaved else (-1, 2, pairs)
        heads = rows.reshape(*shape, *rows.shape[1:])
        halves = heads.swapaxes(1, 2) if self.interleaved else heads
        padding = [(0, 0)] * halves.ndim
        padding[2] = (0, self.padded_dim // 2 - pairs)
        return np.pad(halves, padding).reshape(-1, *rows.shape[1:])

    def plain(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows of a value projection, (heads * head_dim, ...) -> (heads * padded_dim, ...)."""
        heads = rows.reshape(-1, self.head_dim, *rows.shape[1:])
        padding = [(0, 0)] * heads.ndim
        padding[1] = (0, self.padded_dim - self.head_dim)
        return np.pad(heads, padding).reshape(-1, *rows.shape[1:])


def _slices(matrix: NDArray[np.float32]) -> list[slice]:
    """Rows handled at once, so that the temporary arrays stay small beside a large vocabulary's table."""
    return [slice(start, start + _ROWS_AT_ONCE) for start in range(0, len(matrix), _ROWS_AT_ONCE)]


def _divisors(scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scales, with 1 where all values are zero."""
    return np.where(scales == 0, np.float32(1), scales)

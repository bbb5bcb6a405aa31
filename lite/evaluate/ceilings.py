"""What the machine can do at best, measured: the ceilings that a model's step is held against."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

__all__ = ["Ceilings", "measure_ceilings"]

_COPY_BYTES = 1 << 27  # beyond every cache of a small machine
_MATRIX = 768
_ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """The best of several rounds, on as many threads as there are cores."""

    bytes_per_second: float  # of a copy in main memory, what is read and what is written
    flops_per_second: float  # of a float32 product of matrices
    threads: int

    def best(self, other: "Ceilings") -> "Ceilings":
        """Of two measurements of one machine: what else runs on it only ever lowers them."""
        return Ceilings(
            bytes_per_second=max(self.bytes_per_second, other.bytes_per_second),
            flops_per_second=max(self.flops_per_second, other.flops_per_second),
            threads=self.threads,
        )


def measure_ceilings(threads: int, *, copy_bytes: int = _COPY_BYTES, rounds: int = _ROUNDS) -> Ceilings:
    """Takes a second or two and 2 * `copy_bytes` of memory."""
    return Ceilings(
        bytes_per_second=2 * copy_bytes / _best(_copier(threads, copy_bytes), rounds),
        flops_per_second=2 * threads * _MATRIX**3 / _best(_multiplier(threads), rounds),
        threads=threads,
    )


def _best(work: Callable[[], None], rounds: int) -> float:
    """The fewest seconds, after a first round that touches the memory."""
    work()
    seconds = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return max(min(seconds), 1e-9)


def _copier(threads: int, num_bytes: int) -> Callable[[], None]:
    """Each thread copies its own part; numpy lets the others run meanwhile."""
    source, target = np.ones(num_bytes, np.uint8), np.zeros(num_bytes, np.uint8)
    parts = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))
    return lambda: _together(threads, [lambda part=part: np.copyto(part[1], part[0]) for part in parts])  # type: ignore[misc]


def _multiplier(threads: int) -> Callable[[], None]:
    """Each thread multiplies its own matrices, should the library use one thread alone."""
    left = np.full((_MATRIX, _MATRIX), 0.5, np.float32)
    outs = [np.empty_like(left) for _ in range(threads)]
    return lambda: _together(threads, [lambda out=out: np.matmul(left, left, out=out) for out in outs])  # type: ignore[misc]


def _together(threads: int, works: list[Callable[[], object]]) -> None:
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work) for work in works]:
            done.result()

"""What certainty, entropy and the draw cost on one core.

    OMP_NUM_THREADS=1 python bench/sampling.py

Goal: certainty + entropy + draw for 16 rows of 151,936 logits in under 8 ms, and under 0.6 ms for 16 rows of 1,000.
The variants take turns within each round, so that a busy machine slows all of them alike. `cpu` is the thread's own
time, which does not count waiting for a core, but does count a cache and a memory bus shared with others.

Logits: normal, standard deviation 2.5, with twenty tokens a row raised by 12, so that most of the mass is in a few
tokens and the tail is real. The last 267 of 151,936 tokens are forbidden, as Qwen's padding is.

Measured on 2 vCPU of an AMD EPYC (Zen 4), NumPy 2.4, 30 rounds, next to nothing else, ms of CPU, median (least), which
lie apart because the processor itself is up to 1.5 times slower for minutes: 16 rows of 151,936 | 16 rows of 1,000

    certainty + entropy                     4.5 (3.3) | 0.23 (0.13)
    and the draw, T=1                       6.1 (4.4) | 0.82 (0.47)
    T=0.7                                   8.3 (5.8) | 0.89 (0.51)
    greedy                                  7.3 (5.0) | 0.93 (0.60)
    T=0.6 top_k=20 top_p=0.95               7.2 (4.9) | 0.90 (0.79)
    T=0.6 top_p=0.95                        9.7 (6.8) | 0.96 (0.85)
    T=0.7 repetition_penalty=1.1            10.1 (7.1) | 2.12 (1.83)
    np.argpartition for the 64 best, alone  25.0 (19.1) | 0.20 (0.15)

Three rows of 151,936 handled together made an engine's own share of a step a tenth smaller than one at a time, though
that would fit the cache better: what a call costs counts for more. Half of the rows in a second thread made it 3 to 9 %
smaller again, and 5 % larger for a vocabulary of 49,152, as threads wait for each other at the interpreter's lock: not
kept.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from lite.backends.base import Row
from lite.params import SamplingParams
from lite.random import branch_stream
from lite.sampling import draw
from lite.sampling import statistics as score

SETTINGS = {
    "T=1": SamplingParams(),
    "T=0.7": SamplingParams(temperature=0.7),
    "greedy": SamplingParams(temperature=0),
    "T=0.6 top_k=20 top_p=0.95": SamplingParams(temperature=0.6, top_k=20, top_p=0.95),
    "T=0.6 top_p=0.95": SamplingParams(temperature=0.6, top_p=0.95),
    "T=0.7 repetition_penalty=1.1": SamplingParams(temperature=0.7, repetition_penalty=1.1),
    "T=1 top_logprobs=5": SamplingParams(top_logprobs=5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    for num_rows, vocab_size, padding in ((16, 151_936, 267), (16, 1_000, 0), (1, 1_000, 0), (32, 1_000, 0)):
        print(f"{num_rows} rows of {vocab_size} logits, {rounds} rounds")
        report(measure(variants(num_rows, vocab_size, padding, rounds), rounds))


def variants(num_rows: int, vocab_size: int, padding: int, rounds: int) -> dict[str, Callable[[int], object]]:
    """Named pieces of work, each given the number of the round."""
    logits = synthetic_logits(num_rows, vocab_size)
    forbidden = np.arange(vocab_size) >= vocab_size - padding
    targets = np.zeros(num_rows, dtype=np.int64)
    streams = [branch_stream(0, sample) for sample in range(num_rows)]

    def drawing(params: SamplingParams) -> Callable[[int], object]:
        steps = [rows(streams, drawn, params) for drawn in range(rounds + 1)]
        return lambda turn: draw(logits, steps[turn], forbidden=forbidden)

    return {
        "np.argpartition, 64 best, alone": lambda _: np.argpartition(logits, -64, axis=1),
        "certainty + entropy": lambda _: score(logits, targets, 0),
        **{f"certainty + entropy + draw, {name}": drawing(params) for name, params in SETTINGS.items()},
    }


def synthetic_logits(num_rows: int, vocab_size: int) -> np.ndarray:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2.5, (num_rows, vocab_size)).astype(np.float32)
    for row in logits:
        row[random.integers(0, vocab_size, 20)] += 12
    return logits


def rows(streams: list[tuple[int, int]], drawn: int, params: SamplingParams) -> list[Row]:
    context = tuple(range(200))
    return [
        Row(
            slot=slot,
            position=len(context),
            token=0,
            stream=stream,
            drawn=drawn,
            params=params,
            context=context,
            prompt_length=100,
            max_new=1,
        )
        for slot, stream in enumerate(streams)
    ]


def measure(work: dict[str, Callable[[int], object]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """CPU and wall milliseconds of each round, after one round for warming up."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, run in work.items():
            cpu, wall = time.thread_time(), time.perf_counter()
            run(turn)
            taken[name].append(((time.thread_time() - cpu) * 1e3, (time.perf_counter() - wall) * 1e3))
    return {name: times[1:] for name, times in taken.items()}


def report(taken: dict[str, list[tuple[float, float]]]) -> None:
    print(f"  {'ms':58} {'cpu median':>10} {'min':>7} {'90 %':>7} {'wall median':>12} {'min':>7}")
    for name, times in taken.items():
        cpu, wall = (sorted(column) for column in zip(*times, strict=True))
        worst = cpu[int(0.9 * (len(cpu) - 1))]
        medians = statistics.median(cpu), statistics.median(wall)
        print(f"  {name:58} {medians[0]:10.2f} {cpu[0]:7.2f} {worst:7.2f} {medians[1]:12.2f} {wall[0]:7.2f}")


if __name__ == "__main__":
    main()

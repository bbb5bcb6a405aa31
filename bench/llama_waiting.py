"""How long llama.cpp's threads should wait awake for each other: milliseconds of a step, by GOMP_SPINCOUNT.

    python bench/random_model.py smollm2-135m smollm2.gguf
    python bench/llama_waiting.py smollm2.gguf --busy 0 8

Each value has a process of its own, the values in turn within each round; `--busy` is how many other processes compute
meanwhile. Prints the median of the rounds and their range.

Measured on 2 vCPU of an AMD EPYC (Zen 4), two threads, while other work kept both cores busy (load 12), 4 rounds:

    GOMP_SPINCOUNT   N = 1: ms of a step   N = 16
    10000            303 (70 to 347)       398 (324 to 546)
    1000              53 (42 to 75)        135 (106 to 189)
    100               27 (19 to 43)        105 (98 to 127)

On an idle machine 1000 and 20000 were equal (67 tokens a second of Qwen3-0.6B's dimensions, 135 at N = 16), and not to
wait awake at all halved a single stream; so 1000 it is.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROMPT = 64  # tokens
STEPS = {1: 12, 16: 6}  # by the number of samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--turns", nargs="+", type=int, default=[10_000, 1_000, 100])
    parser.add_argument("--busy", nargs="+", type=int, default=[0, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(*(milliseconds(options.model, samples, steps) for samples, steps in STEPS.items()))
        return
    columns = " | ".join(f"N = {samples}: median (range)" for samples in STEPS)
    print(f"| others | GOMP_SPINCOUNT | {columns} |\n|---|---|{'---|' * len(STEPS)}")
    for others in options.busy:
        with busy(others):
            for turns, found in compared(options).items():
                print(f"| {others} | {turns} | {' | '.join(map(spread, zip(*found, strict=True)))} |", flush=True)


def compared(options: argparse.Namespace) -> dict[int, list[list[float]]]:
    found: dict[int, list[list[float]]] = {turns: [] for turns in options.turns}
    command = [sys.executable, __file__, str(options.model), "--measure"]
    for _ in range(options.rounds):
        for turns, rounds in found.items():
            environment = os.environ | {"GOMP_SPINCOUNT": str(turns)}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            rounds.append([float(value) for value in done.stdout.split()])
    return found


@contextmanager
def busy(others: int) -> Iterator[None]:
    """Other processes that compute as long as this lasts."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(others)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def milliseconds(model: Path, samples: int, steps: int) -> float:
    """Of a step, the median."""
    from lite.backends.base import Row
    from lite.backends.cpu.cores import physical_cores
    from lite.backends.cpu.llama_cpp import LlamaBackend
    from lite.params import SamplingParams
    from lite.quant.gguf import open_gguf

    with open_gguf(model) as file:
        backend = LlamaBackend(file, num_slots=samples, context_length=256, threads=physical_cores())
    backend.extend(0, 0, range(PROMPT))
    for slot in range(1, samples):
        backend.fork(0, slot, PROMPT)
    times = []
    for step in range(steps):
        rows = [Row(slot, PROMPT + step, 7, (0, 0), step, SamplingParams(), (), 0, 1) for slot in range(samples)]
        start = time.perf_counter()
        backend.next_logits(rows)
        times.append(time.perf_counter() - start)
    backend.close()
    return 1000 * statistics.median(times)


def spread(values: tuple[float, ...]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})"


if __name__ == "__main__":
    main()

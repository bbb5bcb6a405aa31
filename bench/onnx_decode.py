"""Tokens a second of the ONNX Runtime engine, draws and statistics included.

    python bench/onnx_decode.py
    python bench/onnx_decode.py --model some.gguf --formats int8-row q4 --threads 1 2

N branches of one prompt are drawn from at temperature 1, N by N: one line for each format, number of threads and N.
Configurations take turns, so that a busy moment hits them alike; figures are medians over all steps of all rounds.
"wall" and "cpu" are milliseconds of one step, "model" the part of "wall" that the model itself takes. The second table
is the time to load: "cold" builds the graph, "warm" finds it in the cache.

Measured with the embedded model on a 2.6 GHz server processor, one thread, int8-row, while other work kept both cores
busy (so in tokens per second of CPU time): 1,100 / 2,100 / 3,700 / 4,700 at N = 1 / 4 / 16 / 32; loading took 0.3 s
cold and 0.1 s warm.
"""

import argparse
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from lite.backends.base import Row
from lite.backends.cpu.cores import physical_cores
from lite.backends.cpu.onnx import OnnxBackend
from lite.config import embedded_model
from lite.params import SamplingParams
from lite.quant.gguf import GGUFFile, open_gguf
from lite.quant.onnx import FORMATS, Format

PARAMS = SamplingParams()


@dataclass(slots=True)
class Steps:
    """Milliseconds of each step."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    model: list[float] = field(default_factory=list)


def main() -> None:
    options = arguments()
    file = open_gguf(options.model)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LITE_CACHE_DIR"] = folder
        loads = [(name, *(timed_load(file, name) for _ in range(2))) for name in options.formats]
        backends = {
            (name, threads): OnnxBackend(file, format=name, num_slots=max(options.samples), threads=threads)
            for name in options.formats
            for threads in options.threads
        }
        found = measure(backends, options.samples, options.prompt, options.steps, options.rounds)
    print(f"{Path(options.model).name}, prompt {options.prompt}, {options.rounds} x {options.steps} steps\n")
    print("format    threads   N  tokens/s    wall     cpu   model")
    for (name, threads, samples), steps in found.items():
        wall, cpu, model = median(steps.wall), median(steps.cpu), median(steps.model)
        rate = 1000 * samples / wall
        print(f"{name:10}{threads:7}{samples:4}{rate:10.0f}{wall:8.2f}{cpu:8.2f}{model:8.2f}")
    print("\nformat      cold    warm  seconds to load")
    for name, cold, warm in loads:
        print(f"{name:10}{cold:6.2f}{warm:8.2f}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, default=embedded_model())
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, physical_cores()}))
    parser.add_argument("--samples", nargs="+", type=int, default=[1, 4, 16, 32])
    parser.add_argument("--prompt", type=int, default=100, help="tokens")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def timed_load(file: GGUFFile, weight_format: Format) -> float:
    start = time.perf_counter()
    OnnxBackend(file, format=weight_format).close()
    return time.perf_counter() - start


def measure(
    backends: dict[tuple[str, int], OnnxBackend], sizes: list[int], prompt: int, steps: int, rounds: int
) -> dict[tuple[str, int, int], Steps]:
    found = {(*key, samples): Steps() for key in backends for samples in sizes}
    for _ in range(rounds):
        for (name, threads, samples), times in found.items():
            run(backends[name, threads], samples, prompt, steps, times)
    return found


def run(backend: OnnxBackend, samples: int, prompt: int, steps: int, times: Steps) -> None:
    """Draw `steps` tokens for each of `samples` branches, and note the time of each step but the first."""
    backend.extend(0, 0, [token % backend.spec.vocab_size for token in range(prompt)])
    for slot in range(1, samples):
        backend.fork(0, slot, prompt)
    tokens = [1] * samples
    for step in range(steps + 1):
        rows = [Row(i, prompt + step, tokens[i], (7, i), step, PARAMS, (), prompt, 1) for i in range(samples)]
        start, cpu = time.perf_counter(), time.process_time()
        tokens = backend.step(rows, frozenset()).ids[:, 0].tolist()
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        start = time.perf_counter()
        backend.next_logits(rows)  # the same positions once more: what the model alone takes
        if step:
            times.wall.append(1000 * wall)
            times.cpu.append(1000 * cpu)
            times.model.append(1000 * (time.perf_counter() - start))
    for slot in range(samples):
        backend.release(slot)


if __name__ == "__main__":
    main()

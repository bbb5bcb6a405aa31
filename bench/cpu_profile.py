"""Where the milliseconds of an ONNX step go: ONNX Runtime's own profile, by operator.

    python bench/random_model.py qwen3-0.6b qwen3.gguf
    python bench/cpu_profile.py qwen3.gguf --format int8-row --samples 16 --prompt 128

Of each node the lower quartile over the steps, summed by operator, so that a busy moment leaves no trace; the profiler
itself adds to small nodes. "GOP/s" is of the weight products: two operations a weight and row.

Measured on 2 vCPU of an AMD EPYC (Zen 4), one thread, N = 16, int8-row, dimensions of Qwen3-0.6B, while other work kept
both cores and the memory busy, ms: prompt 128 | prompt 512 | 128 and N = 1

    weight products (MatMulIntegerToFloat)       114 | 104 | 64
    attention (GroupQueryAttention)               56 | 274 |  4
    quantization of rows, and their scales         8 |   8 |  4
    norms                                          3 |   2 |  1
    the rest                                       2 |   2 |  1

The floor: the products alone ran at 255 GOP/s of a core at 16 rows, 320 at 32 and 35 at one (a single node in a session
of its own, the machine less busy), 75 ms of one core at 16 rows; at one row they read 600 MB a step. So what is to be
gained is attention. Its kernel takes one row and head after the other, in 4-wide SSE, and reads the prompt once for
each row: 16 billion operations a second. What was tried with throw-away scripts (predicted -> found), none of it kept:

    the prompt's pages mapped into all rows, so that it is read from the cache (8 of 85 ms less -> speed 1.05 to 1.15
        times at a prompt of 128, hardly any at 512: the kernel computes, it does not wait)
    ORT_GQA_DISABLE_FLASH_ATTENTION (a matrix product a head -> 1.2 to 1.9 times slower from 16 rows on)
    seven nodes for the quantization of rows in five, scales by block (4 ms -> below 0.1 ms: nodes cost 0.3 us)
    session.dynamic_block_base, other lengths of spinning (a busy machine's 8 % -> not to be told from noise)
    draws of half the rows in a second thread (2.5 ms -> 0.5 ms of 6, see bench/sampling.py)

Not done: the prompt's part of all rows as one product a head, merged with each row's own part by log-sum-exp. A sketch
of its operators took 0.34 ms a layer and 0.50 ms for 16 tokens of a row's own, where the kernel takes 1.85 ms (prompt
512: 1.32 + 0.49, not 5.2): the step would be 0.84 and 0.64 of what it is. To keep a row's bits it must be done for each
row, grouped or not, at a border that only its own history sets, so with separate arrays for prompt and completion.
"""

import argparse
import json
import os
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from lite.backends.base import Row
from lite.backends.cpu.cores import count_weights
from lite.backends.cpu.onnx import OnnxBackend
from lite.params import SamplingParams
from lite.quant.gguf import open_gguf
from lite.quant.onnx import FORMATS

PRODUCTS = ("MatMulIntegerToFloat", "MatMulNBits", "MatMul")
WARM_UP = 2  # steps


class Profiled(onnxruntime.SessionOptions):  # type: ignore[misc]  # it has no types
    """Options of a session that writes a profile into the current folder."""

    def __init__(self) -> None:
        super().__init__()
        self.enable_profiling = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--format", choices=FORMATS, default="int8-row")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    options.model = options.model.resolve()
    onnxruntime.SessionOptions = Profiled
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        events, num_weights = profile(options)
    report(events, 2 * num_weights * options.samples)


def profile(options: argparse.Namespace) -> tuple[list[dict[str, Any]], int]:
    """The profiler's events, and how many weights a step multiplies (a tied table once, as the head)."""
    with open_gguf(options.model) as file:
        settings = {"context_length": options.prompt + options.steps + WARM_UP + 1, "threads": options.threads}
        backend = OnnxBackend(file, format=options.format, num_slots=options.samples, **settings)
        num_weights = count_weights(file.tensors.values())
    prompt = np.random.default_rng(0).integers(0, 1000, options.prompt).tolist()
    backend.extend(0, 0, prompt)
    for slot in range(1, options.samples):
        backend.fork(0, slot, len(prompt))
    for step in range(options.steps + WARM_UP):
        backend.next_logits([row(slot, len(prompt) + step) for slot in range(options.samples)])
    path = backend._session.end_profiling()
    backend.close()
    return steps_only(json.loads(Path(path).read_text()), options.steps), num_weights


def row(slot: int, position: int) -> Row:
    return Row(slot, position, 7, (0, slot), 0, SamplingParams(), (), 0, 1)


def steps_only(events: list[dict[str, Any]], steps: int) -> list[dict[str, Any]]:
    """The events of the last runs."""
    start = [event["ts"] for event in events if event["name"] == "model_run"][-steps]
    return [event for event in events if event["ts"] >= start]


def report(events: list[dict[str, Any]], operations: int) -> None:
    nodes: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            nodes[event["args"]["op_name"], event["name"]].append(event["dur"] / 1000)
    sums: dict[str, list[float]] = defaultdict(list)
    for (operator, _), times in nodes.items():
        sums[operator].append(float(np.percentile(times, 25)))
    print("| operator | nodes | ms a step |\n|---|---|---|")
    for operator, times in sorted(sums.items(), key=lambda item: -sum(item[1])):
        print(f"| {operator} | {len(times)} | {sum(times):.2f} |")
    runs = [event["dur"] / 1000 for event in events if event["name"] == "model_run"]
    products = sum(sum(sums[operator]) for operator in PRODUCTS)
    print(f"\nwhole step: median {np.median(runs):.1f}, least {min(runs):.1f} ms")
    print(f"weight products: {operations / products / 1e6:.0f} GOP/s")


if __name__ == "__main__":
    main()

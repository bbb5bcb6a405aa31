"""A step of the same model from a folder that others could have exported, beside our own graph, in float32.

    python -m bench.onnx_folders
    python -m bench.onnx_folders --model smol.gguf --context 256 --rounds 3

The model is written in the onnxruntime-genai layout (fused attention, one memory for past and present) and in
Optimum's (plain operators, which copy the past in each step). N branches of `--context` tokens take a step each, the
three in turn; milliseconds of processor time of one thread, medians over all rounds, and the ratio to our own graph
with the quartiles over rounds. Measured with the embedded model on a server processor that had other work:

      N  folder      ms a step   to our own (quartiles)
      1  genai           2.89   1.31 (1.23 to 1.33)
      1  optimum         3.86   1.66 (1.62 to 1.83)
     16  genai           7.10   1.19 (1.09 to 1.31)
     16  optimum        12.91   2.18 (2.08 to 2.27)
"""

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lite.backends.base import Row
from lite.backends.cpu.onnx import OnnxBackend
from lite.backends.cpu.onnx_folder import OnnxFolderBackend
from lite.backends.host import HostBackend
from lite.config import embedded_model
from lite.params import SamplingParams
from lite.quant.gguf import GGUFFile, open_gguf
from lite.quant.onnx_folder import open_onnx_folder
from tests.quant.onnx_folders import write_folder


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as folder, open_gguf(options.model) as file:
        os.environ["LITE_CACHE_DIR"] = folder
        backends = opened(
            file, Path(folder), max(options.samples), options.context + options.steps * options.rounds + 1
        )
        print(f"{options.model.name}, {options.context} tokens of context, {options.rounds} x {options.steps} steps")
        print("  N  folder      ms a step   to our own (quartiles)")
        for samples in options.samples:
            tell(samples, measured(backends, samples, options.context, options.steps, options.rounds))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, default=embedded_model())
    parser.add_argument("--samples", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--steps", type=int, default=8, help="of a round")
    parser.add_argument("--rounds", type=int, default=10)
    return parser.parse_args()


def opened(file: GGUFFile, folder: Path, slots: int, context: int) -> dict[str, HostBackend]:
    sizes = {"num_slots": slots, "context_length": context, "threads": 1}
    backends: dict[str, HostBackend] = {"our own": OnnxBackend(file, format="f32", **sizes)}
    for name, genai in (("genai", True), ("optimum", False)):
        written = open_onnx_folder(write_folder(folder / name, file, genai=genai))
        backends[name] = OnnxFolderBackend(written, **sizes)
    return backends


def measured(
    backends: Mapping[str, HostBackend], samples: int, context: int, steps: int, rounds: int
) -> dict[str, np.ndarray]:
    """Milliseconds of a step in each round."""
    times: dict[str, list[float]] = {name: [] for name in backends}
    for backend in backends.values():
        backend.extend(0, 0, [token % 100 for token in range(context)])
        for slot in range(1, samples):
            backend.fork(0, slot, context)
        take_steps(backend, samples, context, 2)
    for turn in range(rounds):
        for name, backend in backends.items():
            start = time.process_time()
            take_steps(backend, samples, context + turn * steps, steps)
            times[name].append(1000 * (time.process_time() - start) / steps)
    for backend in backends.values():
        for slot in range(samples):
            backend.release(slot)
    return {name: np.array(found) for name, found in times.items()}


def take_steps(backend: HostBackend, samples: int, position: int, steps: int) -> None:
    for step in range(steps):
        rows = [Row(slot, position + step, 1, (0, 0), 0, SamplingParams(), (), 0, 1) for slot in range(samples)]
        backend.next_logits(rows)


def tell(samples: int, times: Mapping[str, np.ndarray]) -> None:
    own = times["our own"]
    for name, found in times.items():
        low, middle, high = np.quantile(found / own, [0.25, 0.5, 0.75])
        print(f"{samples:3}  {name:10}{np.median(found):10.2f}   {middle:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()

"""What the types of llama.cpp's cached keys and values cost: the time of a step, and the distance to float32.

    python bench/random_model.py smollm2-135m smollm2.gguf
    python bench/llama_cache.py smollm2.gguf --samples 1 16

One thread's own CPU time of a step of N samples of one 128-token prompt, the pairs of types taking turns step by step:
the median, and the ratio to float16 for both. The distance is of one sample's logits on the embedded model, beside a
float32 cache: the mean Kullback-Leibler divergence over a drawn completion, in nats.

Measured on 2 vCPU of an AMD EPYC (Zen 4, which multiplies bfloat16 in hardware), while other work kept both cores busy;
speed, x F16 / F16: dimensions of SmolLM2-135M, N = 1 and 16 | of Qwen3-0.6B, N = 1 and 16 | KL

    F16 / F16    1.00  1.00 | 1.00  1.00 | 5.9e-06
    F16 / BF16   0.89  0.90 | 1.00  0.92 | 3.8e-06
    BF16 / F16   1.06  1.02 | 1.09  1.03 | 5.2e-06
"""

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from lite.backends.base import Row
from lite.backends.cpu import llama_cpp
from lite.backends.cpu.llama_cpp import LlamaBackend
from lite.backends.cpu.llama_formats import FileFormat, file_format
from lite.chat import ChatCodec
from lite.config import embedded_model
from lite.params import Chat, SamplingParams
from lite.quant.gguf import GGUFFile, open_gguf

PAIRS = (("F16", "F16"), ("F16", "BF16"), ("BF16", "F16"))
PROMPT, STEPS = 128, 24
QUESTION = "A baker fills 8 boxes with 347 rolls each. He sells 1289 rolls. How many rolls are left?"
COMPLETION = 150  # tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--samples", nargs="+", type=int, default=[1, 16])
    options = parser.parse_args()
    print("| keys / values | N | ms of CPU a step | speed, x F16 / F16 |\n|---|---|---|---|")
    with open_gguf(options.model) as file:
        for samples in options.samples:
            times = compared(file, samples)
            for pair, found in times.items():
                ratio = statistics.median(a / b for a, b in zip(times["F16", "F16"], found, strict=True))
                print(f"| {' / '.join(pair)} | {samples} | {statistics.median(found):.1f} | {ratio:.2f} |", flush=True)
    print("\n| keys / values | KL to a float32 cache |\n|---|---|")
    with open_gguf(embedded_model()) as file:
        for pair, distance in distances(file).items():
            print(f"| {' / '.join(pair)} | {distance:.1e} |")


def opened(file: GGUFFile, keys: str, values: str, num_slots: int) -> LlamaBackend:
    def chosen(num_bytes: dict[str, int]) -> FileFormat:
        kind = file_format(num_bytes)
        return replace(kind, keys=keys, values=values, flash_attention=keys != "F32")  # type: ignore[arg-type]

    with patch.object(llama_cpp, "file_format", chosen):
        return LlamaBackend(file, num_slots=num_slots, context_length=512, threads=1)


def compared(file: GGUFFile, samples: int) -> dict[tuple[str, str], list[float]]:
    backends = {pair: opened(file, *pair, samples) for pair in PAIRS}
    prompt = np.random.default_rng(0).integers(0, 1000, PROMPT).tolist()
    times: dict[tuple[str, str], list[float]] = {pair: [] for pair in PAIRS}
    for backend in backends.values():
        backend.extend(0, 0, prompt)
        for slot in range(1, samples):
            backend.fork(0, slot, PROMPT)
    for step in range(STEPS):
        for pair, backend in backends.items():
            start = time.thread_time()
            backend.next_logits([row(slot, PROMPT + step, 7) for slot in range(samples)])
            times[pair].append(1000 * (time.thread_time() - start))
    return times


def distances(file: GGUFFile) -> dict[tuple[str, str], float]:
    codec = ChatCodec(file)
    prompt = codec.encode(codec.render(Chat.ask(QUESTION)))
    completion: list[int] = []
    exact = log_softmax(logits(opened(file, "F32", "F32", 1), prompt, completion))
    found = {}
    for pair in PAIRS:
        other = log_softmax(logits(opened(file, *pair, 1), prompt, completion))
        found[pair] = float((np.exp(exact) * (exact - other)).sum(axis=1).mean())
    return found


def logits(backend: LlamaBackend, prompt: list[int], completion: list[int]) -> NDArray[np.float64]:
    """After each token of the completion; an empty one is filled with the likeliest tokens."""
    backend.extend(0, 0, prompt[:-1])
    found, token, greedy = [], prompt[-1], not completion
    for index in range(COMPLETION):
        found.append(backend.next_logits([row(0, len(prompt) - 1 + index, token)])[0].astype(np.float64))
        if greedy:
            completion.append(int(found[-1].argmax()))
        token = completion[index]
    return np.array(found)


def log_softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = values - values.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def row(slot: int, position: int, token: int) -> Row:
    return Row(slot, position, token, (0, 0), 0, SamplingParams(), (), 0, 1)


if __name__ == "__main__":
    main()

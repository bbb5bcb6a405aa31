"""Tokens a second of N samples of one prompt on the CPU: our engines beside llama.cpp's own ways and OpenVINO GenAI.

    python bench/random_model.py qwen3-0.6b qwen3.gguf
    python bench/cpu_decode.py qwen3.gguf --openvino venv-with-openvino-genai/bin/python

One process, the variants in turn within each round (OpenVINO GenAI in a process of its own that waits meanwhile); each
gets the same 128 random tokens, and the time from the first drawn token to the last is taken. "wall" is the rate over
that of sequential `Llama` calls in the same round, "cpu" the same by the processes' own time, which does not count
waiting for a core: median of the rounds, and their range.

    sequential     `llama_cpp.Llama.generate` as it comes, one sample after the other: no certainty
    logprobs       `llama_cpp.Llama(logits_all=True)`, `create_completion(logprobs=5)`, one sample after the other
    batched        what `llama-batched-bench -pps` does: fork, and decode random tokens; nothing is drawn
    openvino       `LLMPipeline("....gguf", "CPU")`, `num_return_sequences=N`, top_k=50: no certainty
    llama, onnx-*  ours: drawn over the whole vocabulary, certainty and entropy of every token exact

"own" is the part of a step of ours outside the model: scheduling, texts, draws and statistics. The second table has
what a search pays: a fork of the prompt (the mean over all samples), and a probe (fork a branch, add 8 tokens with
their log-probabilities, drop it).

Measured on 2 vCPU of an AMD EPYC (Zen 4) with `--samples 1 16 --tokens 16 --rounds 5`, Qwen3-0.6B's dimensions, Q4_0,
next to nothing else (load 1.5 to 1.9), N = 16, median (range); sequential: 36 tokens a second (25 to 40):

                   tokens a second    wall, x sequential   cpu, x sequential    own
    batched        107 (101 to 135)   3.25 (2.75 to 4.01)  3.23 (2.99 to 3.56)
    llama           96 (91 to 117)    2.90 (2.53 to 3.82)  2.92 (2.75 to 3.25)  5.2 %
    onnx-int8-row  140 (126 to 148)   3.69 (3.51 to 5.53)  3.74 (3.68 to 4.50)  6.8 %
    onnx-q8        100 (97 to 109)    2.86 (2.50 to 3.86)  2.91 (2.51 to 3.04)  5.2 %
    onnx-q4        100 (97 to 109)    2.75 (2.62 to 4.13)  2.77 (2.70 to 3.25)  5.3 %
    openvino       186 (156 to 204)   4.87 (4.33 to 8.07)  4.54 (4.39 to 6.24)

llama over batched: wall 0.89 (0.80 to 0.98), at N = 1 0.93 (0.58 to 0.97). So our best engine draws 3.7 times the
tokens of sequential calls, with certainty; OpenVINO GenAI, without, 4.9.

The same with `--threads 1 --tokens 8 --rounds 3`, while other work kept both cores busy (load 9 to 12: tokens a second
moved threefold between rounds and wall ratios more, the CPU ratios are the ones to read), "cpu, x sequential":

    N                1                    4                    16                   32
    logprobs         0.11 (0.10 to 0.12)
    batched          1.08 (0.79 to 1.47)  1.53 (1.40 to 2.06)  2.32 (2.26 to 3.23)  2.35 (2.28 to 3.18)
    llama            1.02 (0.90 to 1.35)  1.46 (1.37 to 2.00)  2.18 (1.95 to 2.97)  2.15 (2.03 to 3.11)
    onnx-int8-row    0.60 (0.55 to 0.73)  1.65 (1.65 to 2.24)  3.12 (2.95 to 3.87)  3.42 (3.21 to 5.18)
    onnx-q8          0.50 (0.48 to 0.81)  1.46 (1.30 to 2.06)  2.05 (1.78 to 2.86)  2.13 (2.00 to 2.85)
    onnx-q4          0.73 (0.63 to 1.01)  1.83 (1.61 to 2.07)  1.99 (1.97 to 2.97)  2.31 (2.10 to 2.88)
    openvino                              2.37 (2.36 to 2.92)  3.64 (3.51 to 5.18)  3.96 (3.80 to 5.58)

llama over batched: wall 1.11, 1.01, 0.97, 1.01 and cpu 0.94, 0.97, 0.92, 0.91 for N = 1, 4, 16, 32. "own" at N = 16:
3 to 4 %. A fork takes 0.013 ms in llama.cpp, which shares its cells, and 6 ms in ONNX Runtime, which copies 29 MB.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from lite.backends.cpu.cores import physical_cores
from lite.backends.cpu.llama_cpp import LlamaBackend
from lite.backends.cpu.onnx import OnnxBackend
from lite.chat import ChatCodec
from lite.engine import Engine
from lite.params import SamplingParams
from lite.quant.gguf import GGUFFile, open_gguf
from lite.quant.onnx import FORMATS
from lite.sampler import Request

CONTEXT = 512
PROBE = 8  # tokens
FEW = 2  # tokens of OpenVINO's short run, and of a round that warms up
SLOW = 8  # tokens of the slow way to log-probabilities


@dataclass(frozen=True, slots=True)
class Rate:
    """Of all samples together, after the prompt."""

    wall: float  # tokens a second
    cpu: float  # tokens a second of the process's own time, all threads together


class Variant(Protocol):
    def rate(self, prompt: Sequence[int], samples: int, tokens: int) -> Rate: ...


@dataclass(slots=True)
class Found:
    """One entry a round."""

    rates: list[Rate] = field(default_factory=list)
    bases: list[Rate] = field(default_factory=list)  # sequential, in the same round
    own: list[float] = field(default_factory=list)  # share of a step


def main() -> None:
    options = arguments()
    with open_gguf(options.model) as file:
        variants = opened(file, options)
        found = measure(variants, file.config.vocab_size, options)
        report(found)
        print("\n| | fork of the prompt, ms | probe, ms |\n|---|---|---|")
        for name, variant in variants.items():
            if isinstance(variant, Ours):
                print(f"| {name} | {variant.fork():.3f} | {variant.probe():.1f} |")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    names = ["logprobs", "batched", "llama", *(f"onnx-{name}" for name in FORMATS)]
    default = ["logprobs", "batched", "llama", "onnx-int8-row", "onnx-q8", "onnx-q4"]
    parser.add_argument("--variants", nargs="*", choices=names, default=default)
    parser.add_argument("--openvino", help="a Python that has openvino-genai")
    parser.add_argument("--samples", nargs="+", type=int, default=[1, 4, 16, 32])
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=32, help="of each sample")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=physical_cores())
    return parser.parse_args()


def opened(file: GGUFFile, options: argparse.Namespace) -> dict[str, Variant]:
    variants: dict[str, Variant] = {"sequential": Sequential(file.path, options.threads)}
    for name in options.variants:
        variants[name] = _variant(name, file, options)
    if options.openvino:
        variants["openvino"] = OpenVINO(options.openvino, file.path, options.threads)
    return variants


def _variant(name: str, file: GGUFFile, options: argparse.Namespace) -> Variant:
    slots, threads = max(options.samples) + 1, options.threads
    if name == "logprobs":
        return Logprobs(file.path, threads)
    if name == "batched":
        return Batched(file.path, slots, threads)
    if name == "llama":
        return Ours(file, LlamaBackend(file, num_slots=slots, context_length=CONTEXT, threads=threads))
    weights = next(known for known in FORMATS if name == f"onnx-{known}")
    return Ours(file, OnnxBackend(file, format=weights, num_slots=slots, context_length=CONTEXT, threads=threads))


def measure(variants: dict[str, Variant], vocab_size: int, options: argparse.Namespace) -> dict[tuple[str, int], Found]:
    """All variants and numbers of samples in turn; a first round warms up and is not kept."""
    generator = np.random.default_rng(0)
    found: dict[tuple[str, int], Found] = {}
    for number in range(-1, options.rounds):
        tokens = options.tokens if number >= 0 else FEW
        prompt = generator.integers(0, vocab_size - 1000, options.prompt).tolist()
        sequential = variants["sequential"].rate(prompt, 1, tokens)
        for samples in options.samples:
            for name, variant in variants.items():
                if name in ("sequential", "logprobs") and samples > 1:
                    continue
                rate = sequential if name == "sequential" else variant.rate(prompt, samples, tokens)
                if number < 0:
                    continue
                entry = found.setdefault((name, samples), Found())
                entry.rates.append(rate)
                entry.bases.append(sequential)
                entry.own += [variant.own] if isinstance(variant, Ours) else []
        print(f"round {number + 1} of {options.rounds}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    return found


def report(found: dict[tuple[str, int], Found]) -> None:
    print("| | N | tokens a second | wall, x sequential | cpu, x sequential | own |\n|---|---|---|---|---|---|")
    for (name, samples), entry in found.items():
        wall, cpu = ratios(entry.rates, entry.bases)
        own = f"{statistics.median(entry.own):.1%}" if entry.own else ""
        print(f"| {name} | {samples} | {spread([rate.wall for rate in entry.rates], 0)} | {wall} | {cpu} | {own} |")
    for name, samples in found:
        if name == "llama" and ("batched", samples) in found:
            wall, cpu = ratios(found[name, samples].rates, found["batched", samples].rates)
            print(f"\nllama over batched, N = {samples}: wall {wall}, cpu {cpu}")


def ratios(rates: Sequence[Rate], bases: Sequence[Rate]) -> tuple[str, str]:
    """By wall and by CPU time, round by round."""
    pairs = list(zip(rates, bases, strict=True))
    wall, cpu = [rate.wall / base.wall for rate, base in pairs], [rate.cpu / base.cpu for rate, base in pairs]
    return spread(wall, 2), spread(cpu, 2)


def spread(values: Sequence[float], digits: int) -> str:
    """Nothing for a difference of times that drowned in their noise."""
    if min(values) <= 0:
        return ""
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({least:.{digits}f} to {most:.{digits}f})"


class Watch:
    """Time since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def rate(self, tokens: int) -> Rate:
        return Rate(tokens / (time.perf_counter() - self._wall), tokens / (time.process_time() - self._cpu))


class Ours:
    """An engine of ours, with all that it does for a token."""

    def __init__(self, file: GGUFFile, backend: LlamaBackend | OnnxBackend) -> None:
        self._backend = backend
        self._engine = Engine(backend, ChatCodec(file))
        self._prompt: list[int] = []
        self._in_model = 0.0
        self.own = 0.0
        setattr(backend, "next_logits", self._timed(backend.next_logits))  # noqa: B010  # a method

    def rate(self, prompt: Sequence[int], samples: int, tokens: int) -> Rate:
        self._prompt = list(prompt)
        params = SamplingParams(max_tokens=tokens + 1)
        requests = [Request(tuple(prompt), params, sample) for sample in range(samples)]
        self._engine.start(requests)
        self._engine.step(wait=False)
        self._in_model = 0.0
        watch = Watch()
        for _ in range(tokens):
            self._engine.step(wait=False)
        rate = watch.rate(samples * tokens)
        self.own = 1 - self._in_model * rate.wall / (samples * tokens)
        return rate

    def fork(self) -> float:
        """Milliseconds."""
        targets = range(1, self._backend.spec.num_slots)
        self._backend.extend(0, 0, self._prompt)
        times = []
        for _ in range(5):
            for slot in targets:
                self._backend.release(slot)
            start = time.perf_counter()
            for slot in targets:
                self._backend.fork(0, slot, len(self._prompt))
            times.append(time.perf_counter() - start)
        return 1000 * statistics.median(times) / len(targets)

    def probe(self) -> float:
        """Milliseconds."""
        times = []
        for _ in range(9):
            start = time.perf_counter()
            self._backend.fork(0, 1, len(self._prompt))
            self._backend.extend(1, len(self._prompt), self._prompt[:PROBE], self._prompt[1 : PROBE + 1])
            self._backend.release(1)
            times.append(time.perf_counter() - start)
        return 1000 * statistics.median(times)

    def _timed(self, function: Callable[..., object]) -> Callable[..., object]:
        def timed(*arguments: object) -> object:
            start = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                self._in_model += time.perf_counter() - start

        return timed


class Sequential:
    """The way of llama-cpp-python's examples."""

    def __init__(self, path: Path, threads: int) -> None:
        from llama_cpp import Llama

        self._llama = Llama(str(path), n_ctx=CONTEXT, n_threads=threads, n_threads_batch=threads, verbose=False)

    def rate(self, prompt: Sequence[int], samples: int, tokens: int) -> Rate:
        drawn = self._llama.generate(prompt)
        next(drawn)
        watch = Watch()
        for _ in range(tokens):
            next(drawn)
        return watch.rate(tokens)


class Logprobs:
    """The only official way to log-probabilities."""

    def __init__(self, path: Path, threads: int) -> None:
        from llama_cpp import Llama

        self._llama = Llama(
            str(path), n_ctx=CONTEXT, n_threads=threads, n_threads_batch=threads, logits_all=True, verbose=False
        )

    def rate(self, prompt: Sequence[int], samples: int, tokens: int) -> Rate:
        drawn = iter(self._llama.create_completion(list(prompt), max_tokens=SLOW + 1, logprobs=5, stream=True))
        next(drawn)
        watch = Watch()
        return watch.rate(min(SLOW, sum(1 for _ in drawn)))


class Batched:
    """llama.cpp's own benchmark in Python: its defaults (float16 cache, automatic flash attention), nothing drawn."""

    def __init__(self, path: Path, sequences: int, threads: int) -> None:
        import llama_cpp.llama_cpp as llama

        self._llama = llama
        self._model = llama.llama_model_load_from_file(os.fsencode(path), llama.llama_model_default_params())
        params = llama.llama_context_default_params()
        params.n_ctx = CONTEXT * 8
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True
        self._context = llama.llama_init_from_model(self._model, params)
        self._batch = llama.llama_batch_init(CONTEXT, 0, 1)
        self._generator = np.random.default_rng(0)

    def rate(self, prompt: Sequence[int], samples: int, tokens: int) -> Rate:
        memory = self._llama.llama_get_memory(self._context)
        self._llama.llama_memory_clear(memory, False)
        self._decode(prompt, range(len(prompt)), [0] * len(prompt))
        for sequence in range(1, samples):
            self._llama.llama_memory_seq_cp(memory, 0, sequence, -1, -1)
        watch = Watch()
        for step in range(tokens):
            drawn = self._generator.integers(0, 1000, samples).tolist()
            self._decode(drawn, [len(prompt) + step] * samples, range(samples))
        return watch.rate(samples * tokens)

    def _decode(self, tokens: Sequence[int], positions: Sequence[int], sequences: Sequence[int]) -> None:
        batch, last = self._batch, len(tokens) - 1
        batch.n_tokens = len(tokens)
        for index, entry in enumerate(zip(tokens, positions, sequences, strict=True)):
            batch.token[index], batch.pos[index], batch.seq_id[index][0] = entry
            batch.n_seq_id[index] = 1
            batch.logits[index] = positions[0] == positions[-1] or index == last
        if self._llama.llama_decode(self._context, batch):
            raise SystemExit("llama.cpp refused a batch")
        self._llama.llama_synchronize(self._context)


class OpenVINO:
    """In a process of its own, with the same file. It tells its rate after the prompt itself.

    Its CPU time is that of a longer run less that of a short one.
    """

    def __init__(self, python: str, path: Path, threads: int) -> None:
        command = [python, "-c", _OPENVINO, str(path), str(threads)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def rate(self, prompt: Sequence[int], samples: int, tokens: int) -> Rate:
        short, long = (self._run(prompt, samples, count) for count in (FEW, FEW + tokens))
        return Rate(long[0], samples * tokens / (long[1] - short[1]))

    def _run(self, prompt: Sequence[int], samples: int, tokens: int) -> tuple[float, float]:
        """Tokens a second, and seconds of CPU time of the whole run."""
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps([list(prompt), samples, tokens]), file=self._process.stdin, flush=True)
        rate, seconds = json.loads(self._process.stdout.readline())
        return rate, seconds


_OPENVINO = """
import json, sys, time
import numpy as np
import openvino
import openvino_genai

pipeline = openvino_genai.LLMPipeline(sys.argv[1], "CPU", INFERENCE_NUM_THREADS=int(sys.argv[2]))
for line in sys.stdin:
    prompt, samples, tokens = json.loads(line)
    ids, mask = np.array([prompt]), np.ones((1, len(prompt)), np.int64)
    inputs = openvino_genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(mask))
    config = openvino_genai.GenerationConfig()
    config.do_sample, config.top_k, config.ignore_eos = True, 50, True
    config.num_return_sequences, config.max_new_tokens = samples, tokens
    start = time.process_time()
    result = pipeline.generate(inputs, config)
    print(json.dumps([result.perf_metrics.get_throughput().mean, time.process_time() - start]), flush=True)
"""


if __name__ == "__main__":
    main()

"""Tokens a second of N samples of one prompt on the CPU: our engines beside llama.cpp's own ways and OpenVINO GenAI.

    python bench/random_model.py qwen3-0.6b qwen3.gguf
    python bench/cpu_decode.py qwen3.gguf --genai venv-with-openvino-genai/bin/python

One process, the variants in turn within each round (OpenVINO GenAI in a process of its own that waits meanwhile); each
gets the same 128 random tokens, and the time from the first drawn token to the last is taken. "wall" is the rate over
that of sequential `Llama` calls in the same round, "cpu" the same by the processes' own time, which does not count
waiting for a core: median of the rounds, and their range.

    sequential     `llama_cpp.Llama.generate` as it comes, one sample after the other: no certainty
    logprobs       `llama_cpp.Llama(logits_all=True)`, `create_completion(logprobs=5)`, one sample after the other
    batched        what `llama-batched-bench -pps` does: fork, and decode random tokens; nothing is drawn
    genai          `LLMPipeline("....gguf", "CPU")`, `num_return_sequences=N`, top_k=50: no certainty
    llama, onnx-*, openvino-*  ours: drawn over the whole vocabulary, certainty and entropy of every token exact

"own" is the part of a step of ours outside the model: scheduling, texts, draws and statistics. The second table has
what a search pays: a fork of the prompt (the mean over all samples), and a probe (fork a branch, add 8 tokens with
their log-probabilities, drop it).

Measured on 2 vCPU of an AMD EPYC (Zen 4), Qwen3-0.6B's dimensions, Q4_0, all other work stopped (load 1.9 to 2.2), with
`--variants batched llama onnx-int8-row openvino-int8-row openvino-q4 --samples 1 16 32 --tokens 16 --rounds 5`; wall, x
sequential, which drew 47 tokens a second (46 to 58):

    N                  1                    16                   32                   tokens a second, N = 16   own
    batched            1.08 (1.01 to 1.37)  2.77 (2.22 to 3.17)  2.60 (2.24 to 2.82)  135 (126 to 145)
    llama              1.07 (0.99 to 1.24)  2.57 (1.55 to 3.02)  2.45 (2.17 to 2.87)  131 (72 to 141)           4.5 %
    onnx-int8-row      0.58 (0.57 to 0.67)  3.37 (2.89 to 4.14)  3.86 (3.27 to 4.13)  168 (138 to 201)          6.2 %
    openvino-int8-row  0.63 (0.57 to 0.70)  4.71 (4.57 to 5.44)  5.77 (4.55 to 6.17)  232 (213 to 274)          9.3 %
    openvino-q4        0.72 (0.60 to 0.83)  4.02 (3.73 to 4.72)  4.55 (3.88 to 5.45)  188 (185 to 229)          7.7 %
    genai              0.76 (0.65 to 0.84)  4.17 (3.74 to 4.49)  4.85 (4.50 to 5.26)  210 (176 to 218)

llama over batched, N = 1, 16, 32: wall 0.98 (0.88 to 1.18), 0.95 (0.58 to 1.05), 0.95 (0.87 to 1.06), cpu 0.98, 0.97,
0.97; what is missing is "own". In an earlier run with more rounds it was 0.91 (0.87 to 0.96), cpu 0.94: a busy
neighbour of this virtual machine counts more than what is left. So openvino-int8-row, certainty included, passes
OpenVINO GenAI, which has none, 1.1 times at 16 samples and 1.2 times at 32; its "own" has the largest share because its
steps are the shortest. Where they go, of 73 ms at a slow moment: products 56, attention 11, norms 1, all else 2. The
8-bit rows are faster than four bits in blocks of 32, since one scale for many of a row's activations (as many as divide
all that a product sums over) leaves the inner loop to integers: in groups of 32 a step took 72 ms, of 256 53, of 1024
49.

A fork takes 0.001 ms in blocks, 0.016 in llama.cpp, which shares its cells, 3 in ONNX Runtime, which copies 29 MB; a
probe 50 to 81 ms. `logprobs` draws 0.11 times what sequential does.
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
from lite.backends.cpu.openvino import OpenVinoBackend
from lite.backends.host import HostBackend
from lite.chat import ChatCodec
from lite.engine import Engine
from lite.params import SamplingParams
from lite.quant.gguf import GGUFFile, open_gguf
from lite.quant.onnx import FORMATS
from lite.sampler import Request

PACKED: dict[str, Callable[..., HostBackend]] = {"onnx": OnnxBackend, "openvino": OpenVinoBackend}
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
    names = ["logprobs", "batched", "llama", *(f"{engine}-{name}" for engine in PACKED for name in FORMATS)]
    default = ["logprobs", "batched", "llama", "onnx-int8-row", "openvino-int8-row", "openvino-q4"]
    parser.add_argument("--variants", nargs="*", choices=names, default=default)
    parser.add_argument("--genai", help="a Python that has openvino-genai")
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
    if options.genai:
        variants["genai"] = GenAI(options.genai, file.path, options.threads)
    return variants


def _variant(name: str, file: GGUFFile, options: argparse.Namespace) -> Variant:
    slots, threads = max(options.samples) + 1, options.threads
    if name == "logprobs":
        return Logprobs(file.path, threads)
    if name == "batched":
        return Batched(file.path, slots, threads)
    if name == "llama":
        return Ours(file, LlamaBackend(file, num_slots=slots, context_length=CONTEXT, threads=threads))
    engine, _, weights = name.partition("-")
    return Ours(file, PACKED[engine](file, format=weights, num_slots=slots, context_length=CONTEXT, threads=threads))


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

    def __init__(self, file: GGUFFile, backend: HostBackend) -> None:
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


class GenAI:
    """In a process of its own, with the same file. It tells its rate after the prompt itself.

    Its CPU time is that of a longer run less that of a short one.
    """

    def __init__(self, python: str, path: Path, threads: int) -> None:
        command = [python, "-c", _GENAI, str(path), str(threads)]
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


_GENAI = """
import json, sys, time
sys.modules["openvino.tools.ovc"] = None  # the converters, which would tell a server of the import
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

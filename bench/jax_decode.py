"""ms a decoding step on JAX and its share of the memory roofline; runs unattended on a CPU, a GPU or a TPU.

    python bench/jax_decode.py --out jax_decode.json            # Qwen3's sizes, bf16, below 8 minutes on a GPU
    python bench/jax_decode.py --small                          # proves that it runs, on anything
    python bench/jax_decode.py --kernel pallas                  # or einsum, for what a row has drawn; auto: the table's
    python bench/jax_decode.py --format int8 --xla-flags "--xla_gpu_enable_command_buffer=+WHILE"

Weights are random. The bandwidth is measured first: what a copy of 1 GiB reads and writes a second. The roofline of a
step is what it must read once (weights, the prompt's keys and values, each row's own) over that bandwidth. Cases: rows
that share a prompt of 1,024 tokens; the same with a prompt for each row ("replicated"); one step a call from Python
("single"); steps that draw but take no statistics ("unscored"), and that take the likeliest token and nothing else
("argmax"); where the table has another kernel for what rows have drawn, the reference's ("einsum"); and, timed alone,
the draw with its statistics, the statistics, and a bare argmax. Times are the median of `--repeats` rounds of 32 steps,
with the least and the most; the cases take turns. A case that fails, for want of memory say, is named and the others go
on; no round is begun after `--seconds`. "Temporary" is what the program needs of memory beside weights and
caches: with int8 and N = 1 it should be below a layer's weights, else XLA copies them in bfloat16.

No accelerator was at hand when this was written, so there is no table of Qwen3's sizes. `--small` on two CPU cores
shows that it runs, in 13 s: N = 4 took 0.87 ms a step with a shared prompt, 1.82 replicated, 1.60 with one step a call,
0.76 without statistics.
"""

import argparse
import json
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

if __name__ == "__main__":  # before JAX is imported
    _parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    _parser.add_argument("--out", type=Path, help="A JSON file, written after each model.")
    _parser.add_argument("--small", action="store_true", help="A tiny model, in seconds.")
    _parser.add_argument("--format", choices=("bf16", "f32", "int8"), default="bf16")
    _parser.add_argument("--kernel", choices=("auto", "einsum", "pallas"), default="auto", help="Of own stretches.")
    _parser.add_argument("--repeats", type=int, default=5)
    _parser.add_argument("--seconds", type=float, default=400, help="No model or round is begun after so many.")
    _parser.add_argument("--xla-flags", default="", help="Added to XLA_FLAGS.")
    ARGUMENTS = _parser.parse_args()
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {ARGUMENTS.xla_flags}".strip()

import jax
import jax.numpy as jnp

from lite.backends.base import Row
from lite.backends.jax import draw, programs
from lite.backends.jax.attention_kernels import AskedKernel, KernelName, choose_kernel
from lite.backends.jax.batches import PlacedRow, batch_of
from lite.backends.jax.buckets import Ladder
from lite.backends.jax.cache import Cache, empty_cache
from lite.backends.jax.draw import Draws, Kinds, Scores, draw_tokens, rules_of, score_tokens
from lite.backends.jax.model import Layer, Rotations, Weights, rotation_tables
from lite.backends.jax.programs import Drawn, draw_many
from lite.backends.jax.quantised import Matrix, QTensor
from lite.models import ModelConfig
from lite.params import SamplingParams
from lite.random import branch_stream

STEPS = 32
PROMPT, OWN = 1024, 128  # positions of the caches
COLUMNS = (
    "model | N | prompt | ms a step (least to most) | roofline, ms | share | tokens/s | compiled in, s "
    "| temporary, MB | a layer, MB"
)
_TRACING = threading.Lock()
SAMPLING = Kinds(greedy=False, blocks=True, tokens=False)


def qwen3(layers: int, hidden: int, heads: int, inner: int, *, tied: bool = True, vocab: int = 151_936) -> ModelConfig:
    return ModelConfig(
        architecture="qwen3",
        vocab_size=vocab,
        hidden_size=hidden,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=8,
        head_dim=128,
        intermediate_size=inner,
        rms_norm_eps=1e-6,
        rope_theta=1e6,
        context_length=40_960,
        tied_embeddings=tied,
        rope_interleaved=False,
    )


MODELS = {
    "0.6B": qwen3(28, 1024, 16, 3072),
    "4B": qwen3(36, 2560, 32, 9728),
    "8B": qwen3(36, 4096, 32, 12_288, tied=False),
    "1.7B": qwen3(28, 2048, 16, 6144),
}
SMALL = {"small": replace(qwen3(1, 256, 16, 512, vocab=1024), head_dim=32)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One program to time."""

    model: str
    rows: int
    kind: str  # "shared", "replicated", "single", "unscored", "argmax", "einsum"

    @property
    def num_prompts(self) -> int:
        return self.rows if self.kind == "replicated" else 1

    @property
    def num_tokens(self) -> int:
        return 1 if self.kind == "single" else STEPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Of a case; milliseconds a step."""

    model: str
    rows: int
    kind: str
    median: float
    least: float
    most: float
    roofline: float
    compile_seconds: float
    temporary: int  # bytes that the program needs beside weights and caches
    layer: int  # bytes of a layer's weights

    @property
    def share(self) -> float:
        return self.roofline / self.median


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Of a case that could not be measured."""

    model: str
    rows: int
    kind: str
    reason: str


def cases_of(model: str, kernel: str, *, small: bool) -> list[Case]:
    """The goals' cases first; where the kernel is not the reference, two with that for comparison."""
    numbers, usual = ((4,), 4) if small else ((1, 16, 64, 256), 64)
    cases = [Case(model=model, rows=rows, kind="shared") for rows in numbers]
    if small or model in ("0.6B", "1.7B"):
        cases += [Case(model=model, rows=rows, kind="replicated") for rows in numbers[-2:]]
    if small or model == "0.6B":
        cases += [Case(model=model, rows=rows, kind="single") for rows in numbers[:2]]
    cases += [Case(model=model, rows=usual, kind=kind) for kind in ("unscored", "argmax")]
    if kernel != "einsum" and model in ("0.6B", "4B"):
        cases += [Case(model=model, rows=rows, kind="einsum") for rows in (1, 64)]
    return cases


# Weights and caches


def random_weights(config: ModelConfig, weight_format: str) -> Weights:
    """Made on the device; the sizes of real ones are what matters."""
    dtype = jnp.dtype("float32" if weight_format == "f32" else "bfloat16")
    keys = iter(jax.random.split(jax.random.key(0), 4 * config.num_layers + 2))
    heads, inner, hidden = config.num_heads * config.head_dim, config.intermediate_size, config.hidden_size
    joint = (hidden, config.num_kv_heads, config.num_heads // config.num_kv_heads + 2, config.head_dim)
    matrix = partial(_matrix, dtype=dtype, integers=weight_format == "int8")
    tables = rotation_tables(config, PROMPT + OWN, local=False)

    def layer() -> Layer:
        return Layer(
            attention_norm=jnp.ones(hidden),
            query_key_value=matrix(next(keys), joint),
            query_key_value_bias=None,
            query_norm=jnp.ones(config.head_dim),
            key_norm=jnp.ones(config.head_dim),
            output=matrix(next(keys), (heads, hidden)),
            attention_update_norm=None,
            feed_forward_norm=jnp.ones(hidden),
            gate_up=matrix(next(keys), (hidden, 2, inner)),
            down=matrix(next(keys), (inner, hidden)),
            feed_forward_update_norm=None,
        )

    table = partial(matrix, shape=(config.vocab_size, hidden), sums_over=1)
    return Weights(
        embedding=table(next(keys)),
        layers=tuple(layer() for _ in range(config.num_layers)),
        final_norm=jnp.ones(hidden),
        head=None if config.tied_embeddings else table(next(keys)),
        rotations=Rotations(*map(jnp.asarray, tables)),
        local_rotations=None,
        dtype=str(dtype),
    )


def _matrix(key: jax.Array, shape: tuple[int, ...], *, dtype: jnp.dtype, integers: bool, sums_over: int = 0) -> Matrix:
    scale = 1 / shape[sums_over] ** 0.5
    if not integers:
        return _normal(key, shape, dtype, scale)
    scales = jnp.full(shape[:sums_over] + shape[sums_over + 1 :], scale / 64)
    return QTensor(codes=jax.random.randint(key, shape, -127, 128, jnp.int8), scales=scales)


@partial(jax.jit, static_argnums=(1, 2, 3))
def _normal(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype, scale: float) -> jax.Array:
    return jax.random.normal(key, shape, dtype) * jnp.asarray(scale, dtype)


def cache_of(config: ModelConfig, rows: int, positions: int, dtype: str) -> Cache:
    return empty_cache(config.num_layers, (rows, config.num_kv_heads, positions, config.head_dim), jnp.dtype(dtype))


def num_bytes(tree: Any) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def least_read(config: ModelConfig, weights: Weights, case: Case) -> int:
    """Bytes that a step must read: weights (of the embedding a row each, if the head is another), and caches."""
    read = num_bytes(weights.layers) + num_bytes(weights.embedding if weights.head is None else weights.head)
    position = 2 * config.num_layers * config.num_kv_heads * config.head_dim * jnp.dtype(weights.dtype).itemsize
    return read + position * (case.num_prompts * PROMPT + case.rows * STEPS // 2)


# Timing


def copy_bandwidth(small: bool) -> float:
    """Bytes a second, read and written, of the best of ten copies."""
    size = (1 << 24) if small else (1 << 30)
    array = jnp.zeros(size // 4, jnp.float32)
    copy = jax.jit(lambda values: values + 1)
    jax.block_until_ready(copy(array))
    return 2 * size / min(seconds_of(lambda: copy(array)) for _ in range(10))


def seconds_of(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def inputs(config: ModelConfig, case: Case) -> tuple[Any, ...]:
    """What `draw_many` takes after its caches."""
    rows = [Row(n, PROMPT, n, branch_stream(0, n), 0, SamplingParams(), (), 0, STEPS * 100) for n in range(case.rows)]
    placed = [PlacedRow(row, row.slot, row.slot if case.num_prompts > 1 else 0, PROMPT) for row in rows]
    batch = batch_of(placed, case.rows, case.num_prompts, Ladder(1, 2))
    nobody = jnp.zeros(config.vocab_size, bool)
    return batch, None, nobody, nobody


def kernel_for(config: ModelConfig, weights: Weights, asked: AskedKernel) -> KernelName:
    sizes = {"head_size": config.head_dim, "sharing": config.num_heads // config.num_kv_heads}
    return choose_kernel(asked, jax.devices()[0], dtype=weights.dtype, **sizes, sharded=False)


@partial(jax.jit, static_argnames=("config", "kinds", "top", "num_tokens", "kernel"), donate_argnums=1)
def likeliest(*arguments: Any, **settings: Any) -> tuple[Cache, Drawn]:
    """`draw_many` with an argmax in place of the draw and its statistics."""

    def argmax(logits: jax.Array, *_: object, **__: object) -> Draws:
        nothing = jnp.zeros(len(logits), jnp.int32)
        ids = logits.argmax(axis=1).astype(jnp.int32)
        return Draws(ids=ids, margin=nothing.astype(jnp.float32), fault=nothing, scores=no_scores(logits, ids))

    with patch.object(programs, "draw_tokens", argmax):
        return draw_many.__wrapped__(*arguments, **settings)


@partial(jax.jit, static_argnames=("config", "kinds", "top", "num_tokens", "kernel"), donate_argnums=1)
def unscored(*arguments: Any, **settings: Any) -> tuple[Cache, Drawn]:
    """`draw_many` without statistics."""
    with patch.object(draw, "score_tokens", no_scores):
        return draw_many.__wrapped__(*arguments, **settings)


def no_scores(logits: jax.Array, targets: jax.Array, *, top: int = 0) -> Scores:
    nothing, none = jnp.zeros(len(logits)), jnp.zeros((len(logits), 0))
    return Scores(nothing, nothing, nothing, none.astype(jnp.int32), none)


def compiled(config: ModelConfig, weights: Weights, kernel: KernelName, case: Case) -> tuple[Any, float] | str:
    """The program and how long it took, or why there is none."""
    start = time.perf_counter()
    shapes = [
        jax.eval_shape(partial(cache_of, config, rows, positions, weights.dtype))
        for rows, positions in ((case.rows, OWN), (case.num_prompts, PROMPT))
    ]
    taken = "einsum" if case.kind == "einsum" else kernel
    settings = {"config": config, "kinds": SAMPLING, "top": 0, "num_tokens": case.num_tokens, "kernel": taken}
    steps = {"unscored": unscored, "argmax": likeliest}.get(case.kind, draw_many)
    with _TRACING:  # two of them put something else in a module's place meanwhile
        lowered = steps.lower(weights, *shapes, *inputs(config, case), **settings)
    try:
        return lowered.compile(), time.perf_counter() - start
    except RuntimeError as error:
        return _reason(error)


def timed(config: ModelConfig, weights: Weights, case: Case, program: Any) -> float:
    """Milliseconds a step of 32, after 32 others; the tokens are read back as a backend does."""
    cache = cache_of(config, case.rows, OWN, weights.dtype)
    prompts = cache_of(config, case.num_prompts, PROMPT, weights.dtype)
    batch, *rest = inputs(config, case)
    calls = STEPS // case.num_tokens
    for _ in range(2):
        start = time.perf_counter()
        for call in range(calls):
            own = replace(batch, lengths=batch.lengths + call) if calls > 1 else batch
            cache, drawn = program(weights, cache, prompts, own, *rest)
            told: Drawn = jax.device_get(drawn)
            assert told.counts.min() == case.num_tokens
    return 1000 * (time.perf_counter() - start) / STEPS


def measure_model(
    name: str, config: ModelConfig, arguments: argparse.Namespace, bandwidth: float, deadline: float
) -> Iterator[Result | Failure]:
    weights = jax.block_until_ready(random_weights(config, arguments.format))
    kernel = kernel_for(config, weights, arguments.kernel)
    cases = cases_of(name, kernel, small=arguments.small)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = dict(zip(cases, pool.map(partial(compiled, config, weights, kernel), cases), strict=True))
    failures = {case: reason for case, reason in found.items() if isinstance(reason, str)}
    times: dict[Case, list[float]] = {case: [] for case in cases}
    for number in range(arguments.repeats):  # in turn, so that a busy moment hits all alike
        if number and time.perf_counter() > deadline:
            break
        for case in [case for case in cases if case not in failures]:
            try:
                times[case].append(timed(config, weights, case, found[case][0]))
            except RuntimeError as error:
                failures[case] = _reason(error)
    for case, made in found.items():
        if case in failures or isinstance(made, str):
            yield Failure(model=name, rows=case.rows, kind=case.kind, reason=failures[case])
            continue
        program, seconds = made
        yield Result(
            model=name,
            rows=case.rows,
            kind=case.kind,
            median=statistics.median(times[case]),
            least=min(times[case]),
            most=max(times[case]),
            roofline=1000 * least_read(config, weights, case) / bandwidth,
            compile_seconds=seconds,
            temporary=program.memory_analysis().temp_size_in_bytes,
            layer=num_bytes(weights.layers[0]),
        )


def measure_draw(rows: int, vocab: int) -> dict[str, float]:
    """Milliseconds of the draw with its statistics, of these alone, and of an argmax, each in a loop on the device."""
    logits = 3 * jax.random.normal(jax.random.key(1), (rows, vocab))
    barred = jnp.zeros(vocab, bool)
    of_rows = [Row(n, 0, 0, branch_stream(0, n), 0, SamplingParams(), (), 0, 1) for n in range(rows)]
    rules = rules_of(of_rows)

    def drawn(logits: jax.Array, step: jax.Array) -> jax.Array:
        found = draw_tokens(logits, rules, jnp.full(rows, step, jnp.uint32), barred, kinds=SAMPLING)
        return found.ids.astype(jnp.float32) + found.scores.certainty + found.scores.entropy + found.scores.logprob

    def scored(logits: jax.Array, step: jax.Array) -> jax.Array:
        found = score_tokens(logits, jnp.full(rows, step, jnp.int32))
        return found.certainty + found.entropy + found.logprob

    def argmax(logits: jax.Array, step: jax.Array) -> jax.Array:
        return logits.argmax(axis=1).astype(jnp.float32)

    return {name: _in_loop(call, logits) for name, call in (("draw", drawn), ("scores", scored), ("argmax", argmax))}


def _in_loop(call: Callable[[jax.Array, jax.Array], jax.Array], logits: jax.Array) -> float:
    """Each round's logits depend on the last one's result, so that none is left out."""

    @jax.jit
    def loop(logits: jax.Array) -> jax.Array:
        def one(step: jax.Array, kept: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            values, total = kept
            found = call(values, step)
            return values.at[:, 0].set(found * 1e-6), total + found

        return jax.lax.fori_loop(0, STEPS, one, (logits, jnp.zeros(len(logits))))[1]

    jax.block_until_ready(loop(logits))
    return 1000 * min(seconds_of(lambda: loop(logits)) for _ in range(5)) / STEPS


def main(arguments: argparse.Namespace) -> None:
    start, device = time.perf_counter(), jax.devices()[0]
    bandwidth = copy_bandwidth(arguments.small)
    told: dict[str, Any] = {
        "device": device.device_kind,
        "jax": jax.__version__,
        "format": arguments.format,
        "kernel": arguments.kernel,
        "xla_flags": arguments.xla_flags,
        "copy_bytes_a_second": bandwidth,
        "results": [],
        "draws": {},
    }
    print(f"{device.device_kind}, jax {jax.__version__}, copy {bandwidth / 1e9:,.0f} GB/s")
    vocab = 1024 if arguments.small else 151_936
    for rows in (4,) if arguments.small else (1, 64, 256):
        told["draws"][rows] = measure_draw(rows, vocab)
        print(f"N={rows}: " + ", ".join(f"{name} {value:.3f} ms" for name, value in told["draws"][rows].items()))
    print(COLUMNS)
    for name, config in (SMALL if arguments.small else MODELS).items():
        if time.perf_counter() - start > arguments.seconds:
            print(f"{name}: left out, {arguments.seconds:.0f} s have passed")
            continue
        try:
            for result in measure_model(name, config, arguments, bandwidth, start + arguments.seconds):
                share = {"share": result.share} if isinstance(result, Result) else {}
                told["results"].append(asdict(result) | share)
                print(_line(result), flush=True)
        except RuntimeError as error:  # its weights alone may be too much
            print(f"{name}: left out, {_reason(error)}", flush=True)
        if arguments.out:
            arguments.out.write_text(json.dumps(told, indent=1))
    print(f"{time.perf_counter() - start:.0f} s in all")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _line(result: Result | Failure) -> str:
    if isinstance(result, Failure):
        return f"{result.model} | {result.rows} | {result.kind} | not measured: {result.reason}"
    spread = f"{result.median:.3f} ({result.least:.3f} to {result.most:.3f})"
    rate = 1000 * result.rows / result.median
    parts = (result.model, result.rows, result.kind, spread, f"{result.roofline:.3f}", f"{result.share:.0%}")
    memory = (f"{size / 1e6:.1f}" for size in (result.temporary, result.layer))
    return " | ".join(map(str, (*parts, f"{rate:,.0f}", f"{result.compile_seconds:.0f}", *memory)))


if __name__ == "__main__":
    main(ARGUMENTS)

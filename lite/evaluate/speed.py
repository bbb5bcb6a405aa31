"""How fast an engine is, and where a step's time goes.

A run is the real thing: N requests of one prompt through the engine, whose parts are timed as they are called. The
variants take turns, so that what else the machine does falls on all of them, and medians over the rounds are told.
"""

import statistics
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields

from lite.codec import Codec
from lite.engine import Engine
from lite.errors import UsageError
from lite.evaluate.log import Plain
from lite.evaluate.parts import Parts
from lite.params import Prompt, SamplingParams
from lite.sampler import Chunk, Request, Traits

__all__ = ["Run", "Spread", "measure_run", "measure_variants", "plain_runs", "spread"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One prompt and its N samples. Seconds; those of a step are means over the steps after the first token."""

    prompt_tokens: int
    first_token: float  # from asking to the first token of every sample
    prefill: float  # of the prompt, computed once
    step: float
    forward: float | None  # these three make the step; None where the engine does both at once
    draw: float | None  # statistics and draw
    scheduling: float
    tokens_per_step: float  # all samples together

    @property
    def prefill_rate(self) -> float:
        return self.prompt_tokens / self.prefill

    @property
    def decode_rate(self) -> float:
        """Tokens a second, all samples together."""
        return self.tokens_per_step / self.step


@dataclass(frozen=True, slots=True)
class Spread:
    """Over the rounds."""

    median: float
    low: float  # quartiles
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles; of fewer than three values the extremes."""
    if len(values) < 3:
        return Spread(statistics.median(values), min(values), max(values))
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(middle, low, high)


def measure_variants(
    variants: Sequence[Parts],
    samples: Sequence[int],
    *,
    prompt_tokens: int,
    new_tokens: int,
    rounds: int,
) -> Generator[tuple[int, int], None, list[list[list[Run]]]]:
    """Runs by variant and number of samples, one a round. Yields (runs done, runs in all) as it goes on.

    A first round, which is not counted, warms everything up.
    """
    found: list[list[list[Run]]] = [[[] for _ in samples] for _ in variants]
    total = (rounds + 1) * len(variants) * len(samples)
    done = 0
    for turn in range(rounds + 1):
        for n, count in enumerate(samples):
            for v, parts in enumerate(variants):
                run = measure_run(parts, count, prompt_tokens=prompt_tokens, new_tokens=new_tokens)
                if turn:
                    found[v][n].append(run)
                done += 1
                yield done, total
    return found


def measure_run(parts: Parts, count: int, *, prompt_tokens: int, new_tokens: int) -> Run:
    """Draw `new_tokens` tokens of each of `count` samples, no end token heeded.

    Raises UsageError where the prompt and the tokens do not fit the context.
    """
    backend, spec = parts.backend, parts.backend.spec
    if prompt_tokens + new_tokens > spec.context_length:
        raise UsageError(
            f"{prompt_tokens} prompt tokens and {new_tokens} new ones exceed the context of {spec.context_length}: "
            "ask for fewer, or for a larger context"
        )
    prompt = _prompt(parts.codec, spec.vocab_size, prompt_tokens)
    params = SamplingParams(max_tokens=new_tokens)
    engine = Engine(backend, _Endless(parts.codec))  # never closed: the backend is not its own
    with ExitStack() as stack:
        extend, step, forward = (
            stack.enter_context(_timed(backend, name)) for name in ("extend", "step", "next_logits")
        )
        begun = time.perf_counter()
        engine.start([Request(prompt, params, sample=i) for i in range(count)])
        engine.step(wait=True)
        first_token, prefill = time.perf_counter() - begun, extend.seconds
        step.seconds, forward.seconds = 0.0, 0.0
        begun, tokens, steps = time.perf_counter(), 0, 0
        while events := engine.step(wait=True):
            tokens += sum(len(event.ids) for event in events if isinstance(event, Chunk))
            steps += 1
        seconds = time.perf_counter() - begun
    for slot in range(count):
        backend.release(slot)
    return _run(prompt_tokens - 1, first_token, prefill, seconds, tokens, steps, step, forward)


@dataclass(slots=True)
class _Stopwatch:
    seconds: float = 0.0
    calls: int = 0
    known: bool = True  # whether the method is there


def _run(
    prompt_tokens: int,
    first_token: float,
    prefill: float,
    seconds: float,
    tokens: int,
    steps: int,
    step: _Stopwatch,
    forward: _Stopwatch,
) -> Run:
    is_split = forward.known and forward.calls > 0
    return Run(
        prompt_tokens=prompt_tokens,
        first_token=first_token,
        prefill=max(prefill, 1e-9),
        step=seconds / steps,
        forward=forward.seconds / steps if is_split else None,
        draw=(step.seconds - forward.seconds) / steps if is_split else None,
        scheduling=(seconds - step.seconds) / steps,
        tokens_per_step=tokens / steps,
    )


@contextmanager
def _timed(target: object, name: str) -> Iterator[_Stopwatch]:
    """Time a method of this object while the context lasts, calls from within its class too."""
    method: Callable[..., object] | None = getattr(target, name, None)
    watch = _Stopwatch(known=method is not None)
    if method is None:
        yield watch
        return

    def timed(*args: object, **kwargs: object) -> object:
        begun = time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            watch.seconds += time.perf_counter() - begun
            watch.calls += 1

    setattr(target, name, timed)
    try:
        yield watch
    finally:
        delattr(target, name)


class _Endless:
    """A codec without an end token, so that every sample has the same length."""

    end_ids: frozenset[int] = frozenset()

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    @property
    def traits(self) -> Traits:
        return self._codec.traits

    @property
    def forbidden_ids(self) -> frozenset[int]:
        return self._codec.forbidden_ids

    def encode_prompt(self, prompt: Prompt) -> Sequence[int]:
        return self._codec.encode_prompt(prompt)

    def encode(self, text: str) -> Sequence[int]:
        return self._codec.encode(text)

    def token_bytes(self, token: int) -> bytes:
        return self._codec.token_bytes(token)


def _prompt(codec: Codec, vocab_size: int, length: int) -> tuple[int, ...]:
    """Ordinary tokens from all over the vocabulary, the same each time."""
    barred = codec.forbidden_ids | codec.end_ids
    allowed = [token for token in range(vocab_size) if token not in barred]
    return tuple(allowed[(7919 * i + 11) % len(allowed)] for i in range(length))


def plain_runs(runs: Sequence[Run]) -> Plain:
    """Median and quartiles of every figure, for JSON; None where it was not told."""
    names = [*(field.name for field in fields(Run)), "prefill_rate", "decode_rate"]
    plain: Plain = {}
    for name in names:
        values = [value for run in runs if (value := getattr(run, name)) is not None]
        told = spread(values) if values else None
        plain[name] = None if told is None else {"median": told.median, "low": told.low, "high": told.high}
    return plain

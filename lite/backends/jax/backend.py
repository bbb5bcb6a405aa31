"""A model on JAX: a prompt's keys and values are stored once and read once for all its samples.

A step draws several tokens for each row in one loop on the device; only ids and statistics come back.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from lite.backends.base import BackendSpec, Drawn, Row, Statistics
from lite.backends.jax import programs
from lite.backends.jax.attention_kernels import AskedKernel, choose_kernel
from lite.backends.jax.buckets import ACCELERATOR, CPU, Buckets
from lite.backends.jax.cache import Cache, empty_cache
from lite.backends.jax.checkpoint import Checkpoint
from lite.backends.jax.compilation import keep_compiled_programs
from lite.backends.jax.contexts import Contexts, Model
from lite.backends.jax.draw import Scores, check_sound
from lite.backends.jax.mesh import Axes, Placement
from lite.backends.jax.warmup import compile_ahead
from lite.backends.jax.weights import TensorSource, load_weights
from lite.errors import BackendError, Interrupted, LiteError

__all__ = ["Format", "JaxBackend", "default_format"]

Format: TypeAlias = Literal["f32", "bf16", "int8"]
"""Of the weights: float32, bfloat16, or eight-bit integers with one scale a column."""

_TOPS = (0, 8, 64)  # how many of the likeliest tokens a program may report
_TOKENS_PER_STEP, _ON_CPU = 32, 8  # a CPU's steps are long beside what it costs to begin them


def default_format() -> Format:
    """What the device at hand is best at."""
    return "f32" if jax.default_backend() == "cpu" else "bf16"


class JaxBackend:
    """A Backend over JAX, on the default device or on a mesh.

    A row's bits depend on neither slot nor companions as long as the arrays have the same sizes; with other sizes
    they may differ in the last places, so `spec.batch_invariant` is False. The file may be closed when the
    constructor is done. Raises BackendError where JAX fails.
    """

    def __init__(
        self,
        file: TensorSource | Checkpoint,
        *,
        format: Format | None = None,  # noqa: A002  # what users call it
        num_slots: int = 16,
        context_length: int | None = None,
        forbidden_ids: Collection[int] = (),
        tokens_per_step: int | None = None,
        buckets: Buckets | None = None,
        placement: Placement | None = None,
        kernel: AskedKernel = "auto",
    ) -> None:
        config, weight_format = file.config, format or _format_of(file)
        self._spec = BackendSpec(
            engine="jax",
            format=weight_format,
            vocab_size=config.vocab_size,
            num_slots=num_slots,
            context_length=min(context_length or config.context_length, config.context_length),
            tokens_per_step=tokens_per_step or (_ON_CPU if jax.default_backend() == "cpu" else _TOKENS_PER_STEP),
            batch_invariant=False,
        )
        self._stop: Callable[[], bool] = _never
        self._placement = placement or Placement()
        self._ends: dict[frozenset[int], jax.Array] = {}
        keep_compiled_programs()
        with _one_line("the model could not be put on the device"):
            self._model: Model | None = _model(
                file, self._spec, forbidden_ids, self._placement, buckets or _buckets(), kernel
            )
            self._contexts = Contexts(self._model)

    @property
    def spec(self) -> BackendSpec:
        return self._spec

    def watch(self, stop: Callable[[], bool]) -> None:
        """As `Interruptible.watch`: asked between the parts of a long `extend`."""
        self._stop = stop

    def extend(
        self, slot: int, start: int, ids: Sequence[int], targets: Sequence[int] | None = None, top: int = 0
    ) -> Statistics | None:
        with self._intact(f"{len(ids)} tokens could not be written", start + len(ids)) as contexts:
            contexts.truncate(slot, start)
            parts = contexts.write(slot, ids, targets, _fitting_top(top), self._stop) if ids else []
            if any(not np.isfinite(scores.certainty).all() for scores in parts):
                raise BackendError("the engine gave non-finite logits; the model's weights or their format are broken")
        return _scored(parts, top) if parts else None

    def fork(self, source: int, target: int, length: int) -> None:
        with self._intact("a branch could not be forked", length) as contexts:
            contexts.fork(source, target, length)

    def step(self, rows: Sequence[Row], end_ids: frozenset[int]) -> Drawn:
        top = max(row.params.top_logprobs for row in rows)
        with self._intact("a step of the model failed", max(row.position for row in rows) + 1) as contexts:
            found = contexts.draw(rows, self._end_mask(end_ids), _fitting_top(top))
            check_sound(np.asarray(found.fault), rows)
            for row, count in zip(rows, found.counts.tolist(), strict=True):
                contexts.note_fed(row.slot, count)
        return _reported(found, top)

    def release(self, slot: int) -> None:
        if self._model is not None:
            self._contexts.truncate(slot, 0)

    def compile_ahead(self, end_ids: frozenset[int], *, prompt_length: int, max_tokens: int) -> int:
        """Compile for one prompt and a full house of its samples, see `warmup`; returns how many programs."""
        if self._model is None:
            raise BackendError("the model was closed: load it again")
        ends = self._end_mask(end_ids)
        most = {"prompt_length": prompt_length, "max_tokens": max_tokens}
        with _one_line("the programs could not be compiled"):
            return compile_ahead(self._model, ends, num_samples=self._spec.num_slots, **most)

    def close(self) -> None:
        if self._model is not None:
            self._model = None
            del self._contexts

    def _end_mask(self, ids: frozenset[int]) -> jax.Array:
        if ids not in self._ends:
            self._ends[ids] = self._placement.put(_mask(self._spec.vocab_size, ids), (None,))
        return self._ends[ids]

    @contextmanager
    def _intact(self, failure: str, length: int) -> Iterator[Contexts]:
        """What the slots hold; after an error, whose cause may have destroyed arrays, they hold nothing."""
        if self._model is None:
            raise BackendError("the model was closed: load it again")
        if length > self._spec.context_length:
            raise BackendError(
                f"{length} tokens exceed the context of {self._spec.context_length} that was set at load"
            )
        try:
            with _one_line(failure):
                yield self._contexts
        except Interrupted:
            raise
        except BaseException:
            self._contexts = Contexts(self._model)
            raise


def _never() -> bool:
    return False


def _buckets() -> Buckets:
    return CPU if jax.default_backend() == "cpu" else ACCELERATOR


def _format_of(file: TensorSource | Checkpoint) -> Format:
    """What there is, where it cannot be changed, else what suits the device."""
    return "int8" if isinstance(file, Checkpoint) and file.integers else default_format()


def _model(
    file: TensorSource | Checkpoint,
    spec: BackendSpec,
    forbidden_ids: Collection[int],
    placement: Placement,
    buckets: Buckets,
    kernel: AskedKernel,
) -> Model:
    on_cpu, integers = jax.default_backend() == "cpu", spec.format == "int8"
    dtype = "float32" if spec.format == "f32" or (integers and on_cpu) else "bfloat16"
    config = file.config
    load = file.weights if isinstance(file, Checkpoint) else partial(load_weights, file)

    def empty(axes: Axes, rows: int, positions: int) -> Cache:
        shape = (rows, config.num_kv_heads, positions, config.head_dim)
        return empty_cache(config.num_layers, shape, jnp.dtype(dtype), placement.sharding(shape, axes))

    return Model(
        config=config,
        weights=load(placement, dtype=dtype, integers=integers, num_positions=spec.context_length),
        buckets=buckets.over(placement.num_data),
        empty_prompts=partial(empty, (None, "model", None, None)),
        empty_rows=partial(empty, ("data", "model", None, None)),
        barred=placement.put(_mask(spec.vocab_size, forbidden_ids), (None,)),
        placement=placement,
        tokens_per_step=spec.tokens_per_step,
        kernel=choose_kernel(
            kernel,
            jax.devices()[0],
            dtype=dtype,
            head_size=config.head_dim,
            sharing=config.num_heads // config.num_kv_heads,
            sharded=placement.mesh is not None,
        ),
    )


def _mask(vocab_size: int, ids: Collection[int]) -> NDArray[np.bool_]:
    mask = np.zeros(vocab_size, np.bool_)
    mask[list(ids)] = True
    return mask


def _fitting_top(top: int) -> int:
    return next(size for size in _TOPS if size >= top)


def _reported(found: programs.Drawn, top: int) -> Drawn:
    """Trimmed to the longest row and to the `top` likeliest tokens."""
    longest = int(found.counts.max())
    return Drawn(
        ids=np.asarray(found.ids)[:, :longest],
        counts=np.asarray(found.counts),
        statistics=_statistics(jax.tree.map(lambda array: array[:, :longest], found.scores), top),
        margin=np.asarray(found.margin)[:, :longest],
    )


def _scored(parts: Sequence[Scores], top: int) -> Statistics:
    return _statistics(jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts), top)


def _statistics(scores: Scores, top: int) -> Statistics:
    return Statistics(
        logprob=np.asarray(scores.logprob),
        entropy=np.asarray(scores.entropy),
        certainty=np.asarray(scores.certainty),
        top_ids=np.asarray(scores.top_ids)[..., :top],
        top_logprobs=np.asarray(scores.top_logprobs)[..., :top],
    )


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Turn JAX's errors into one of ours."""
    try:
        yield
    except LiteError:
        raise
    except (RuntimeError, ValueError, TypeError, MemoryError) as error:
        message = " ".join(str(error).split())[:300]
        hint = "; ask for fewer samples or a shorter context" if "RESOURCE_EXHAUSTED" in message else ""
        raise BackendError(f"{what}: {message}{hint}") from error

"""The two programs that run a model: one computes keys and values, one draws tokens in a loop on the device.

Everything is masked by absolute positions: position p of a prompt's row is token p; position s of a row's own
stretch is token base + s, where base is how much of the prompt the row goes on from.
"""

from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.tree_util import register_dataclass
from numpy.typing import NDArray

from lite.backends.jax.attention import Part, attend, merge
from lite.backends.jax.attention_kernels import KERNELS, KernelName
from lite.backends.jax.cache import Cache
from lite.backends.jax.compilation import traced_once
from lite.backends.jax.draw import Adjustments, Draws, Kinds, Rules, Scores, draw_tokens, score_tokens
from lite.backends.jax.model import Weights, decode_hidden, logits_of
from lite.models import ModelConfig

__all__ = ["Batch", "Drawn", "Stretch", "draw_many", "write_tokens"]

_Scalar: TypeAlias = jax.Array | NDArray[np.int32]
"""Of type int32: a host's number, or what it is within a program."""


@register_dataclass
@dataclass(frozen=True)
class Stretch:
    """What tokens may attend to beside each other: positions first..first+count-1 of a context."""

    cache: Cache  # of one row
    first: _Scalar  # the position that the row's first one stands for
    count: _Scalar  # how many of the row's positions mean something


@register_dataclass
@dataclass(frozen=True)
class Batch:
    """Rows to draw for, int32 of shape (rows,) where nothing else is said."""

    tokens: jax.Array
    lengths: jax.Array  # positions of the row's own stretch that hold something
    bases: jax.Array  # positions of its prompt that it goes on from
    remaining: jax.Array  # tokens it may gain; 0: the row is idle
    drawn: jax.Array  # uint32
    members: jax.Array  # (prompts, rows a prompt): the rows that go on from each prompt, any row as filling
    places: jax.Array  # each row's place in `members`, flattened
    rules: Rules


@register_dataclass
@dataclass(frozen=True)
class Drawn:
    """What `draw_many` drew: row i holds counts[i] tokens."""

    ids: jax.Array  # (rows, tokens)
    counts: jax.Array  # (rows,)
    margin: jax.Array  # (rows, tokens)
    scores: Scores  # (rows, tokens)
    fault: jax.Array  # (rows,), for `check_sound`


@partial(jax.jit, static_argnames=("config", "top"))
def write_tokens(
    weights: Weights,
    context: tuple[Stretch, ...],
    start: jax.Array,
    ids: jax.Array,
    targets: jax.Array | None,
    *,
    config: ModelConfig,
    top: int,
) -> tuple[Cache, Scores | None]:
    """The keys and values, one row, of `ids`, int32 (n,), at positions start.. after a context.

    With `targets`, int32 (n,), also their scores after each id. Ids that are filling at the end change nothing before.
    """
    positions = start + jnp.arange(len(ids), dtype=jnp.int32)
    keys: list[jax.Array] = []
    values: list[jax.Array] = []

    def attention(layer: int, query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        keys.append(jnp.moveaxis(key, 0, 1)[None])
        values.append(jnp.moveaxis(value, 0, 1)[None])
        reach = _reach(config, layer, positions)[:, None]

        def part(key: jax.Array, value: jax.Array, at: jax.Array, meant: jax.Array) -> Part:
            visible = meant & (at >= reach) & (at <= positions[:, None])
            return attend(query[None], key, value, visible[None])

        parts = [part(keys[-1], values[-1], positions[None], jnp.ones((1, len(ids)), bool))]
        for stretch in context:
            place = jnp.arange(stretch.cache.num_positions, dtype=jnp.int32)[None]
            known = stretch.cache.keys[layer], stretch.cache.values[layer]
            parts.append(part(*known, jnp.asarray(stretch.first) + place, place < jnp.asarray(stretch.count)))
        return merge(parts)[0]

    hidden = decode_hidden(config, weights, ids, positions, attention)
    scores = None if targets is None else score_tokens(logits_of(weights, hidden), targets, top=top)
    return Cache(keys=tuple(keys), values=tuple(values)), scores


@partial(jax.jit, static_argnames=("config", "kinds", "top", "num_tokens", "kernel"), donate_argnames=("cache",))
def draw_many(
    weights: Weights,
    cache: Cache,
    prompts: Cache,
    batch: Batch,
    adjustments: Adjustments | None,
    barred: jax.Array,
    ends: jax.Array,
    *,
    config: ModelConfig,
    kinds: Kinds,
    top: int,
    num_tokens: int,
    kernel: KernelName = "einsum",
) -> tuple[Cache, Drawn]:
    """Draw up to `num_tokens` tokens for each row; it leaves early when no row is to draw any more.

    `barred` and `ends` are bool (vocab,); `kernel` is for the rows' own stretches, while a prompt's is a product of
    matrices. A row ends with an end token, when it gained all it may, or at a fault.
    """

    def one_more(state: _State) -> _State:
        hidden, cache = _next_hidden(config, weights, state, prompts, batch, kernel)
        drawn = batch.drawn + state.step.astype(jnp.uint32)
        found = draw_tokens(
            logits_of(weights, hidden), batch.rules, drawn, barred, state.adjustments, kinds=kinds, top=top
        )
        return _after(state, found, cache, batch, ends)

    start = _State(
        step=jnp.zeros((), jnp.int32),
        tokens=batch.tokens,
        live=batch.remaining > 0,
        cache=cache,
        adjustments=adjustments,
        drawn=_nothing(len(batch.tokens), num_tokens, min(top, len(barred))),
    )
    end = lax.while_loop(lambda state: (state.step < num_tokens) & state.live.any(), one_more, start)
    return end.cache, end.drawn


@register_dataclass
@dataclass(frozen=True)
class _State:
    """What the loop carries."""

    step: jax.Array
    tokens: jax.Array
    live: jax.Array  # bool (rows,)
    cache: Cache
    adjustments: Adjustments | None
    drawn: Drawn


def _next_hidden(
    config: ModelConfig, weights: Weights, state: _State, prompts: Cache, batch: Batch, kernel: KernelName
) -> tuple[jax.Array, Cache]:
    """Feed each row's token; idle rows are computed with the others, and leave their cache as it is."""
    cache = state.cache
    lengths = batch.lengths + state.step
    positions = batch.bases + lengths
    targeted = jnp.where(state.live, lengths, cache.num_positions)
    keys, values = list(cache.keys), list(cache.values)

    def attention(layer: int, query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        keys[layer], values[layer] = _fed(keys[layer], targeted, key), _fed(values[layer], targeted, value)
        own, of_prompts = (keys[layer], values[layer]), (prompts.keys[layer], prompts.values[layer])
        reach = _reach(config, layer, positions)
        return _attended(query, own, of_prompts, batch, positions, reach, kernel)

    hidden = decode_hidden(config, weights, state.tokens, positions, attention)
    return hidden, Cache(keys=tuple(keys), values=tuple(values))


@traced_once()
def _fed(array: jax.Array, targeted: jax.Array, new: jax.Array) -> jax.Array:
    """Keys or values with one more position of each row; a position beyond the last is passed over."""
    rows = jnp.arange(len(targeted), dtype=jnp.int32)
    return array.at[rows, :, targeted].set(new, mode="drop", unique_indices=True, indices_are_sorted=True)


@traced_once("kernel")
def _attended(
    query: jax.Array,
    own: tuple[jax.Array, jax.Array],
    of_prompts: tuple[jax.Array, jax.Array],
    batch: Batch,
    positions: jax.Array,
    reach: jax.Array,
    kernel: KernelName,
) -> jax.Array:
    """Each row's query over its own keys and values and over its prompt's, from position `reach` on."""
    part = KERNELS[kernel](query, *own, jnp.maximum(reach - batch.bases, 0), positions - batch.bases + 1)
    place = jnp.arange(of_prompts[0].shape[2], dtype=jnp.int32)[None]
    visible = (place < batch.bases[:, None]) & (place >= reach[:, None])
    of_groups = attend(query[batch.members], *of_prompts, visible[batch.members])
    by_row = jax.tree.map(lambda array: array.reshape(-1, *array.shape[2:])[batch.places][:, None], of_groups)
    return merge([part, by_row])[:, 0]


def _reach(config: ModelConfig, layer: int, positions: jax.Array) -> jax.Array:
    """The first position that a token at each of `positions` attends to."""
    return positions - config.sliding_window + 1 if config.is_local(layer) else jnp.zeros_like(positions)


def _after(state: _State, found: Draws, cache: Cache, batch: Batch, ends: jax.Array) -> _State:
    """The state once the tokens found are noted."""
    live, step = state.live, state.step
    noted = state.drawn
    adjustments = None if state.adjustments is None else state.adjustments.after(found.ids, live)
    drawn = Drawn(
        ids=noted.ids.at[:, step].set(found.ids),
        counts=noted.counts + live.astype(jnp.int32),
        margin=noted.margin.at[:, step].set(found.margin),
        scores=jax.tree.map(lambda told, one: told.at[:, step].set(one), noted.scores, found.scores),
        fault=jnp.where(live, found.fault, noted.fault),
    )
    goes_on = live & ~ends[found.ids] & (step + 1 < batch.remaining) & (found.fault == 0)
    return _State(
        step=step + 1,
        tokens=jnp.where(live, found.ids, state.tokens),
        live=goes_on,
        cache=cache,
        adjustments=adjustments,
        drawn=drawn,
    )


def _nothing(rows: int, tokens: int, top: int) -> Drawn:
    zeros = jnp.zeros((rows, tokens), jnp.float32)
    best = jnp.zeros((rows, tokens, top), jnp.float32)
    return Drawn(
        ids=jnp.zeros((rows, tokens), jnp.int32),
        counts=jnp.zeros(rows, jnp.int32),
        margin=zeros,
        scores=Scores(zeros, zeros, zeros, best.astype(jnp.int32), best),
        fault=jnp.zeros(rows, jnp.int32),
    )

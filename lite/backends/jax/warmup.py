"""Compiling the programs of a batch before it is there, several at once."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.sharding import NamedSharding

from lite.backends.base import Row
from lite.backends.jax.batches import PlacedRow, batch_of
from lite.backends.jax.buckets import Ladder
from lite.backends.jax.cache import Cache
from lite.backends.jax.contexts import Model
from lite.backends.jax.draw import Kinds
from lite.backends.jax.programs import Stretch, draw_many, write_tokens
from lite.params import SamplingParams

__all__ = ["compile_ahead"]

_Lowering: TypeAlias = Callable[[], Any]

_KINDS = (Kinds(greedy=False, blocks=True, tokens=False), Kinds(greedy=True, blocks=False, tokens=False))
"""Sampling without a filter, and greedy."""


def compile_ahead(model: Model, ends: jax.Array, *, num_samples: int, prompt_length: int, max_tokens: int) -> int:
    """Compile what up to `num_samples` samples of one prompt need, for the cache on disk; returns how many programs.

    Prompts have up to `prompt_length` tokens and samples up to `max_tokens`. Other samplers, filters, penalties and
    reports of the likeliest tokens have programs of their own, and are compiled when they are asked for.
    """
    lowerings = [*_writes(model, prompt_length), *_draws(model, ends, num_samples, prompt_length, max_tokens)]
    with ThreadPoolExecutor() as pool:
        return sum(pool.map(lambda lower: lower().compile() is not None, lowerings))


def _writes(model: Model, prompt_length: int) -> Iterator[_Lowering]:
    """A prompt of each size; a longer one goes on after what was written before."""
    scalar, longest = np.array(0, np.int32), model.buckets.longest_write
    prompt = _shapes(model.empty_prompts(1, model.buckets.positions.fit(prompt_length)))
    contexts: list[tuple[Stretch, ...]] = [()]
    if prompt_length > longest:
        contexts.append((Stretch(prompt, scalar, scalar),))
    for size in _sizes(model.buckets.writes, min(prompt_length, longest)):
        for context in contexts:
            ids = np.zeros(size, np.int32)
            yield partial(write_tokens.lower, model.weights, context, scalar, ids, None, config=model.config, top=0)


def _draws(model: Model, ends: jax.Array, num_samples: int, prompt_length: int, max_tokens: int) -> Iterator[_Lowering]:
    """A full batch and those that are left of it when samples end, while they grow."""
    buckets, row = model.buckets, Row(0, 0, 0, (0, 0), 0, SamplingParams(), (), 0, 1)
    prompts = _shapes(model.empty_prompts(buckets.rows.fit(1), buckets.positions.fit(prompt_length)))
    for num_rows in _sizes(buckets.rows, num_samples):
        placed = [PlacedRow(row, place, 0, 0) for place in range(min(num_rows, num_samples))]
        batch = batch_of(placed, num_rows, prompts.num_rows, buckets.groups)
        for num_positions in _sizes(buckets.positions, max_tokens):
            cache = _shapes(model.empty_rows(num_rows, num_positions))
            for kinds in _KINDS:
                yield partial(
                    draw_many.lower,
                    model.weights,
                    cache,
                    prompts,
                    batch,
                    None,
                    model.barred,
                    ends,
                    config=model.config,
                    kinds=kinds,
                    top=0,
                    num_tokens=model.tokens_per_step,
                    kernel=model.kernel,
                )


def _sizes(ladder: Ladder, most: int) -> list[int]:
    """Those of the ladder up to the one that holds `most`."""
    sizes = [ladder.first]
    while sizes[-1] < most:
        sizes.append(sizes[-1] * ladder.factor)
    return sizes


def _shapes(cache: Cache) -> Cache:
    """What a program is compiled for, without the memory."""
    shapes: Cache = jax.tree.map(_shape, cache)
    return shapes


def _shape(array: jax.Array) -> jax.ShapeDtypeStruct:
    sharding = array.sharding if isinstance(array.sharding, NamedSharding) else None  # as a lone device's arrays are
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)  # type: ignore[no-untyped-call]

"""Calls of backends whose logits lie in the host's memory, as the tests of each of them make them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from numpy.typing import NDArray

from lite.backends.base import Row, Savable
from lite.params import SamplingParams
from lite.quant.gguf import GGUFFile, open_gguf
from tests import reference
from tests.gguf_files import llama3_rope_freqs, write_gguf

__all__ = ["ARCHITECTURES", "PRODUCTS", "any_calls", "last_logits", "over_sizes", "row", "scored", "write_wide"]

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma3")

PRODUCTS = {"int8-row": reference.int8_row_product, "q8": reference.q8_product, "q4": reference.q4_product}
"""By our own formats of weights: what the reference multiplies with."""

PARAMS = SamplingParams()

over_sizes = pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"head_dim": 12},
        {"hidden_size": 72, "intermediate_size": 100, "num_heads": 3, "num_kv_heads": 1},
        {"rope_freqs": llama3_rope_freqs(old=8)},
        {"metadata": {"gemma3.attention.sliding_window": 7, "gemma3.attention.sliding_window_pattern": 2}},
    ],
    ids=["even", "padded-heads", "ragged", "rope-factors", "windows"],
)
"""Models that take each branch of a graph's builder, as arguments of `write_gguf`."""


def write_wide(folder: Path) -> GGUFFile:
    """A model whose matrices have the shapes of a small real one: several tiles of every kernel, and ragged ends."""
    sizes: dict[str, Any] = {
        "hidden_size": 224,
        "intermediate_size": 608,
        "num_heads": 6,
        "head_dim": 32,
        "context_length": 1000,
    }
    return open_gguf(write_gguf(folder / "wide.gguf", **sizes))


class Backend(Savable, Protocol):
    """A `HostBackend` that can save its slots."""

    def next_logits(self, rows: Sequence[Row]) -> NDArray[np.float32]: ...

    def write(self, slot: int, start: int, ids: Sequence[int], *, scored: bool) -> NDArray[np.float32] | None: ...


def row(slot: int, position: int, token: int, params: SamplingParams = PARAMS) -> Row:
    return Row(slot, position, token, (0, 0), 0, params, (), 0, 1)


def scored(backend: Backend, ids: Sequence[int]) -> NDArray[np.float32]:
    """The logits after each id, written into slot 0."""
    logits = backend.write(0, 0, ids, scored=True)
    assert logits is not None
    return logits.copy()


def last_logits(backend: Backend, slot: int, ids: Sequence[int], start: int = 0) -> NDArray[np.float32]:
    """Of the last token, after the others were written from `start` on."""
    backend.extend(slot, start, ids[start:-1])
    logits: NDArray[np.float32] = backend.next_logits([row(slot, len(ids) - 1, ids[-1])])[0].copy()
    return logits


def any_calls(backend: Backend, fresh: Backend, *, count: int, longest: int, tolerance: float) -> Iterable[int]:
    """Write, fork, release, save, restore and step at random; each step's logits are those of a fresh start.

    Returns the slots that hold something in the end. Where the tolerance is not 0, a drawn position's keys and values
    have other last bits than a written one's.
    """
    generator = np.random.default_rng(2)
    held: dict[int, list[int]] = {}
    for _ in range(count):
        slot = int(generator.integers(backend.spec.num_slots))
        match int(generator.integers(6)):
            case 0:
                start = int(generator.integers(len(held.get(slot, [])) + 1))
                new: list[Any] = generator.integers(0, 300, int(generator.integers(0, longest))).tolist()
                backend.extend(slot, start, new)
                held[slot] = [*held.get(slot, [])[:start], *new]
            case 1 if held:
                source = int(generator.choice(list(held)))
                length = int(generator.integers(len(held[source]) + 1))
                backend.fork(source, slot, length)
                held[slot] = held[source][:length]
            case 2 if slot in held:
                backend.release(slot)
                del held[slot]
            case 3 if any(held.values()):
                source = int(generator.choice([source for source, ids in held.items() if ids]))
                backend.restore(slot, len(held[source]), backend.save(source))
                held[slot] = held[source]
            case _ if held:
                slots = generator.permutation(list(held))[: int(generator.integers(1, 7))].tolist()
                rows = [row(slot, len(held[slot]), int(generator.integers(300))) for slot in slots]
                logits = backend.next_logits(rows).copy()
                for found, line in zip(logits, rows, strict=True):
                    held[line.slot] = [*held[line.slot], line.token]
                    expected = last_logits(fresh, 0, held[line.slot])
                    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    return held

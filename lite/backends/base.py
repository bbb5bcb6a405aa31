"""What an engine needs from a model: rows of KV, and tokens drawn from them.

The engine keeps one invariant: a branch whose context is c[0..n-1] has KV for c[0..n-2] in its slot, and its last
token c[n-1] is fed by the next `step`, which draws from the logits after it. So a prompt is written once without
its last token, forked, and the first draw of all N samples is one batched step like any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lite.params import SamplingParams

__all__ = ["Backend", "BackendSpec", "Drawn", "Row", "Savable", "Statistics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSpec:
    """What a backend is, fixed at load."""

    engine: str  # "onnx", "llama", "openvino", "jax", "table"
    format: str  # of the weights as computed with: "f32", "int8-row", "q4_0", ...
    vocab_size: int  # rows of the logits, padding included
    num_slots: int  # branches that fit at once
    context_length: int  # tokens a slot holds at most
    tokens_per_step: int = 1  # what one `step` draws at most for a row
    batch_invariant: bool = True  # a row's bits are the same whatever its companions


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One branch in one step. `token` is fed at `position` (which equals the KV length) and then drawn from."""

    slot: int
    position: int
    token: int
    stream: tuple[int, int]  # the branch's threefry key, two uint32
    drawn: int  # tokens the branch has drawn so far: the counter of its stream
    params: SamplingParams
    context: Sequence[int]  # prompt, prefix and drawn tokens; read only when a penalty is set
    prompt_length: int  # how much of `context` is not drawn
    max_new: int  # tokens it may still gain; a backend that draws several stops there


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of raw float32 logits, before temperature, penalties and masks; arrays of one shape, float32, nats."""

    logprob: NDArray[np.float32]
    entropy: NDArray[np.float32]
    certainty: NDArray[np.float32]
    top_ids: NDArray[np.int32]  # (..., k), k the largest top_logprobs among the rows; best first
    top_logprobs: NDArray[np.float32]  # (..., k)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What one step drew: arrays of shape (rows, tokens); row i holds counts[i] tokens, the rest is padding.

    `margin` is the race's lead of the drawn token over the next one, in nats of the log race time (for greedy: of
    the logit): draws of two engines part only where it is near 0.
    """

    ids: NDArray[np.int32]
    counts: NDArray[np.int32]  # (rows,)
    statistics: Statistics
    margin: NDArray[np.float32]


class Backend(Protocol):
    """A model with `num_slots` rows of KV. Slots are numbered from 0; the backend may place them as it likes.

    Every method raises BackendError when the engine fails; non-finite logits are a BackendError too, never a token.
    """

    @property
    def spec(self) -> BackendSpec: ...

    def extend(
        self, slot: int, start: int, ids: Sequence[int], targets: Sequence[int] | None = None, top: int = 0
    ) -> Statistics | None:
        """Write the KV of `ids` at positions start.. of the slot, forgetting what stood from `start` on.

        Without ids it only forgets. With `targets` (as many as ids) returns the statistics of targets[i] after
        ids[i], arrays of shape (len,), with the `top` likeliest tokens.
        """
        ...

    def fork(self, source: int, target: int, length: int) -> None:
        """Make the first `length` positions of `target` those of `source`."""
        ...

    def step(self, rows: Sequence[Row], end_ids: frozenset[int]) -> Drawn:
        """Feed each row's token and draw; a row that draws an id of `end_ids` draws no further."""
        ...

    def release(self, slot: int) -> None:
        """The slot's content is not needed any more."""
        ...

    def close(self) -> None:
        """Free everything; idempotent."""
        ...


@runtime_checkable
class Savable(Backend, Protocol):
    """A Backend whose slots can be kept in a file."""

    @property
    def state_kind(self) -> str:
        """What `save` returns is understood by backends of the same model file and the same kind, and no others."""
        ...

    def save(self, slot: int) -> NDArray[np.uint8]:
        """All that a slot holds."""
        ...

    def restore(self, slot: int, length: int, state: NDArray[np.uint8]) -> None:
        """Make a slot hold what one of `length` tokens held when it was saved; the bits are the same."""
        ...

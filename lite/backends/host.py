"""What backends share whose logits lie in the host's memory: statistics and draws by `lite.sampling`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from lite.backends.base import BackendSpec, Drawn, Row, Statistics
from lite.errors import Interrupted
from lite.params import SamplingParams
from lite.sampling import draw, statistics

__all__ = ["LONG_CALL", "HostBackend"]

LONG_CALL = 5e9  # weights times tokens, about 50 ms of two cores: a call that takes longer can be stopped in its middle

_CROWD = 17  # rows: more than one tile of any kernel seen, and no multiple of one
_CHUNK = 128  # positions whose logits are held at once: 78 MB of a vocabulary of 152k


class HostBackend(ABC):
    """A Backend whose model is two functions from tokens to float32 logits of shape (rows, vocab)."""

    def __init__(self, spec: BackendSpec, forbidden_ids: Collection[int] = ()) -> None:
        """`forbidden_ids` are never drawn: padding rows and unused tokens."""
        self._spec = spec
        self._forbidden = _mask(spec.vocab_size, forbidden_ids)
        self._stop: Callable[[], bool] = _never

    @property
    def spec(self) -> BackendSpec:
        return self._spec

    def watch(self, stop: Callable[[], bool]) -> None:
        """As `Interruptible.watch`: asked before each 128 positions of an `extend`, and within what takes long."""
        self._stop = stop

    @abstractmethod
    def next_logits(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """Feed each row's token at its position; row i of the result is what follows rows[i]."""

    @abstractmethod
    def write(self, slot: int, start: int, ids: Sequence[int], *, scored: bool) -> NDArray[np.float32] | None:
        """Write up to 128 tokens (or none) at positions start.. of a slot, forgetting what stood from there on.

        Where they are to be scored, returns the logits after each of them.
        """

    @abstractmethod
    def release(self, slot: int) -> None:
        """As `Backend.release`."""

    def step(self, rows: Sequence[Row], end_ids: frozenset[int]) -> Drawn:
        """Feed each row's token and draw one; a single token never draws past an end, so `end_ids` stay unread."""
        return draw(self.next_logits(rows), rows, forbidden=self._forbidden)

    def extend(
        self, slot: int, start: int, ids: Sequence[int], targets: Sequence[int] | None = None, top: int = 0
    ) -> Statistics | None:
        """As `Backend.extend`, in chunks of 128 positions. Interrupted, the slot holds what was written before."""
        parts: list[Statistics] = []
        for offset in range(0, max(1, len(ids)), _CHUNK):
            chunk = ids[offset : offset + _CHUNK]
            if offset and self._stop():
                raise Interrupted
            logits = self.write(slot, start + offset, chunk, scored=targets is not None)
            if targets is not None and logits is not None:
                wanted = np.asarray(targets[offset : offset + _CHUNK], np.int64)
                parts.append(statistics(logits, wanted, top))
        return _joined(parts) if parts else None

    def is_batch_invariant(self) -> bool:
        """Whether a row has the same bits alone, in a pair and in a crowd: other processors have other kernels.

        To be tried before any slot is in use.
        """
        size = min(self._spec.num_slots, _CROWD)
        rows = [Row(i, 0, i % self._spec.vocab_size, (0, 0), 0, SamplingParams(), (), 0, 1) for i in range(size)]
        alone, pair, crowd = (self.next_logits(rows[:count])[0].copy() for count in (1, 2, size))
        for row in rows:
            self.release(row.slot)
        return np.array_equal(alone, pair) and np.array_equal(alone, crowd)


def _never() -> bool:
    return False


def _mask(vocab_size: int, ids: Collection[int]) -> NDArray[np.bool_] | None:
    if not ids:
        return None
    mask = np.zeros(vocab_size, np.bool_)
    mask[list(ids)] = True
    return mask


def _joined(parts: Sequence[Statistics]) -> Statistics:
    """Parts of one sequence in one."""
    names = [field.name for field in fields(Statistics)]
    return Statistics(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

"""A model on ONNX Runtime's CPU provider, from a folder that others exported."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lite.backends.base import BackendSpec, Row
from lite.backends.cpu.cores import count_weights, suitable_threads
from lite.backends.cpu.onnx_pasts import Pasts
from lite.backends.cpu.onnx_session import address, open_session, run_session
from lite.backends.host import LONG_CALL, HostBackend
from lite.errors import BackendError
from lite.params import SamplingParams
from lite.quant.onnx_folder import OnnxFolder

__all__ = ["OnnxFolderBackend"]

_CROWD = 17  # rows: more than one tile of any kernel seen, and no multiple of one
_CLOSE = 0.02  # standard deviations of the logits: more than rounding, less than what a misread past makes


class OnnxFolderBackend(HostBackend):
    """A Backend over a graph that takes a past and returns a present, by the names and types that the graph tells.

    A step runs branches of any lengths in one batch: told apart by the attention mask, and by positions where the graph
    wants them. Whether a row then has the logits that it has alone is tried out when the model is loaded; where it
    has not, only branches of equal length go together. `spec.batch_invariant` says whether it has the same bits.

    `context_length` bounds prompt and completion of a slot (default: the model's own); `threads` is the number of
    physical cores by default, or 1 for a small model. Raises BackendError where ONNX Runtime fails.
    """

    def __init__(
        self,
        folder: OnnxFolder,
        *,
        num_slots: int = 16,
        context_length: int | None = None,
        threads: int | None = None,
        forbidden_ids: Collection[int] = (),
    ) -> None:
        config = folder.config
        spec = BackendSpec(
            engine="onnx",
            format=folder.format,
            vocab_size=config.vocab_size,
            num_slots=num_slots,
            context_length=min(context_length or config.context_length, config.context_length),
        )
        super().__init__(spec, forbidden_ids)
        self._signature = folder.signature
        self._num_weights = count_weights(folder.tensors.values())
        self._pasts = Pasts(folder.cache_shapes, folder.signature.past[0].dtype, fused=folder.signature.fused)
        self._session: Any = open_session(folder.graph, threads or suitable_threads(folder.tensors.values()))
        self._mixes_lengths = folder.signature.mask is not None
        self._spec = replace(spec, batch_invariant=self._try_companies())

    def next_logits(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """One position for each row, in one batch, or one for each length where the graph takes no other."""
        self._check(max(row.position for row in rows) + 1)
        logits = np.empty((len(rows), self._spec.vocab_size), np.float32)
        for places in self._batches(rows):
            ids = np.array([[rows[place].token] for place in places])
            lengths = {rows[place].slot: rows[place].position for place in places}
            past, present = self._pasts.together(lengths)
            logits[places] = self._run(ids, list(lengths.values()), past, present, num_logits=1)[:, 0]
            self._pasts.advance()
        return logits

    def write(self, slot: int, start: int, ids: Sequence[int], *, scored: bool) -> NDArray[np.float32] | None:
        self._check(start + len(ids))
        past = self._pasts.alone(slot, start)
        if not ids:
            self._pasts.keep(slot, past)
            return None
        present = self._pasts.empty(start + len(ids))
        num_logits = len(ids) if scored else 1
        logits = self._run(np.array([ids]), [start], past, present, num_logits=num_logits)
        self._pasts.keep(slot, present)
        return logits[0] if scored else None

    def fork(self, source: int, target: int, length: int) -> None:
        self._pasts.fork(source, target, length)

    def release(self, slot: int) -> None:
        self._pasts.release(slot)

    def close(self) -> None:
        self._session = None
        self._pasts.clear()

    def _check(self, length: int) -> None:
        if self._session is None:
            raise BackendError("the model was closed: load it again")
        if length > self._spec.context_length:
            raise BackendError(
                f"{length} tokens exceed the context of {self._spec.context_length} that was set at load"
            )

    def _batches(self, rows: Sequence[Row]) -> Iterator[list[int]]:
        """Which rows go together."""
        if self._mixes_lengths:
            yield list(range(len(rows)))
            return
        for position in dict.fromkeys(row.position for row in rows):
            yield [place for place, row in enumerate(rows) if row.position == position]

    def _run(
        self,
        ids: NDArray[np.int64],
        lengths: Sequence[int],
        past: Sequence[NDArray[Any]],
        present: Sequence[NDArray[Any]],
        *,
        num_logits: int,
    ) -> NDArray[np.float32]:
        """Feed ids, (rows, count), after so many positions of each row; the logits of the last, (rows, n, vocab).

        The graph's own count of logits is returned, all or those asked for.
        """
        signature = self._signature
        told = num_logits if signature.num_logits else ids.shape[1]
        logits = np.empty((len(ids), told, self._spec.vocab_size), signature.logits.dtype)
        inputs = self._inputs(ids, np.array(lengths), num_logits)
        inputs |= {port.name: array for port, array in zip(signature.past, past, strict=True)}
        binding = self._session.io_binding()
        for name, array in inputs.items():
            binding.bind_input(name, *address(array))
        binding.bind_output(signature.logits.name, *address(logits))
        for name, array in zip(signature.present, present, strict=True):
            binding.bind_output(name, *address(array))
        is_long = ids.size * self._num_weights > LONG_CALL
        run_session(self._session, binding, self._stop if is_long else None)
        return logits.astype(np.float32, copy=False)

    def _inputs(self, ids: NDArray[np.int64], lengths: NDArray[np.int64], num_logits: int) -> dict[str, NDArray[Any]]:
        """All but the past. A mask has ones where a row has keys, as `Pasts` lays them."""
        signature, count = self._signature, ids.shape[1]
        inputs = {signature.ids: ids}
        if signature.mask:
            places, filled = np.arange(max(lengths) + count), lengths[:, None] + count
            inputs[signature.mask] = places < filled if signature.fused else places >= places.size - filled
        if signature.positions:
            inputs[signature.positions] = lengths[:, None] + np.arange(count)
        if signature.num_logits:
            inputs[signature.num_logits] = np.array(num_logits)
        return {port.name: np.ascontiguousarray(array, port.dtype) for port, array in inputs.items()}

    def _try_companies(self) -> bool:
        """Whether a row has the same bits alone, in a pair and in a crowd; parts lengths where it has other logits."""
        size = min(self._spec.num_slots, _CROWD, self._spec.vocab_size)
        alone, *others = self._tried(size)
        if any(np.abs(other - alone).max() > _CLOSE * alone.std() for other in others):
            self._mixes_lengths = False
            alone, *others = self._tried(size)
        return all(np.array_equal(alone, other) for other in others)

    def _tried(self, size: int) -> Iterator[NDArray[np.float32]]:
        """A row's logits in companies of 1, 2 and `size`, of other lengths if those may be mixed."""
        longest = min(6, self._spec.context_length - 1)
        own = longest // 2
        lengths = [(own + slot) % (longest + 1) if self._mixes_lengths else own for slot in range(size)]
        self.write(0, 0, list(range(longest)), scored=False)
        for slot in reversed(range(size)):
            self.fork(0, slot, lengths[slot])
        rows = [Row(slot, lengths[slot], slot, (0, 0), 0, SamplingParams(), (), 0, 1) for slot in range(size)]
        for count in (1, min(2, size), size):
            yield self.next_logits(rows[:count])[0]
        self._pasts.clear()

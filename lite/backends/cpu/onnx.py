"""A model on ONNX Runtime's CPU provider, from a GGUF file.

Past and present keys and values are one memory: each layer writes the new position into the arrays it reads. A
prompt is written at batch 1; a step runs the branches that lie in neighbouring rows of these arrays.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from lite.backends.base import BackendSpec, Row
from lite.backends.cpu.cores import count_weights, suitable_threads
from lite.backends.cpu.onnx_session import address, one_line, open_session, run_session
from lite.backends.cpu.rows import KeyValueRows
from lite.backends.host import LONG_CALL, HostBackend
from lite.errors import BackendError
from lite.quant.gguf import GGUFFile
from lite.quant.onnx import VERSION, Format, open_graph
from lite.quant.packing import HeadLayout
from lite.quant.rotary import rotations

__all__ = ["OnnxBackend"]

_SHORTEST = 2  # tokens at once when writing: a single one would take other kernels, with other bits


class OnnxBackend(HostBackend):
    """A Backend over ONNX Runtime.

    What `extend` writes has the same bits however it is cut into calls; a row of a step has the same bits whatever
    its companions, where it lies and how large the arrays are. That holds for every format on the processors it was
    tested on; it is tried out when a model is loaded, and `spec.batch_invariant` says what came of it.

    `context_length` bounds prompt and completion of a slot (default: the model's own); `threads` is the number of
    physical cores by default, or 1 for a small model. The file may be closed when the constructor is done. Raises
    BackendError where ONNX Runtime fails.
    """

    def __init__(
        self,
        file: GGUFFile,
        *,
        format: Format = "int8-row",  # noqa: A002  # what users call it
        num_slots: int = 16,
        context_length: int | None = None,
        threads: int | None = None,
        forbidden_ids: Collection[int] = (),
    ) -> None:
        config = file.config
        spec = BackendSpec(
            engine="onnx",
            format=format,
            vocab_size=config.vocab_size,
            num_slots=num_slots,
            context_length=min(context_length or config.context_length, config.context_length),
        )
        super().__init__(spec, forbidden_ids)
        self._config = config
        self._num_weights = count_weights(file.tensors.values())
        self._head_dim = HeadLayout(config.head_dim, config.rope_interleaved).padded_dim
        self._rows = KeyValueRows(
            num_slots=num_slots,
            max_positions=spec.context_length + _SHORTEST - 1,
            num_layers=config.num_layers,
            num_kv_heads=config.num_kv_heads,
            head_dim=self._head_dim,
        )
        self._session: Any = _session(file, format, threads or suitable_threads(file.tensors.values()))
        self._generation = -1  # of the rows that the bindings and tables below belong to
        self._bindings: dict[tuple[int, int], Any] = {}
        self._tables: dict[str, NDArray[np.float32]] = {}
        self._batch = _Batch(num_slots, 1, num_slots, config.vocab_size)
        self._spec = replace(spec, batch_invariant=self.is_batch_invariant())

    def next_logits(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """One position for each row, as one batch. The result is overwritten by the next call."""
        batch, positions = self._batch, [row.position for row in rows]
        self._make_room(max(positions) + 1, [row.slot for row in rows])
        first = self._rows.window([row.slot for row in rows])
        places = [self._rows.row(row.slot) - first for row in rows]
        batch.ids[places, 0] = [row.token for row in rows]
        batch.last[places] = positions
        batch.total[()] = max(positions) + 1
        batch.wanted[: len(rows)] = places
        self._run(self._step_binding(first, len(rows)), len(rows))
        for row in rows:
            self._rows.set_length(row.slot, row.position + 1)
        return batch.logits[: len(rows)]

    def write(self, slot: int, start: int, ids: Sequence[int], *, scored: bool) -> NDArray[np.float32] | None:
        count = max(len(ids), _SHORTEST)
        num_logits = len(ids) if scored else 1
        self._rows.set_length(slot, start)
        if not ids:
            return None
        self._make_room(start + len(ids), [slot])
        row = self._rows.row(slot)
        batch = _Batch(1, count, num_logits, self._config.vocab_size)
        batch.ids[0, : len(ids)] = ids
        batch.last[0] = start + count - 1
        batch.total[()] = start + count
        batch.wanted[:] = np.arange(num_logits)
        self._run(self._bound(batch, row, 1, num_logits), count)
        self._rows.set_length(slot, start + len(ids))
        return batch.logits if scored else None

    def fork(self, source: int, target: int, length: int) -> None:
        self._make_room(length, [source, target])
        self._rows.copy(source, target, length)

    def release(self, slot: int) -> None:
        self._rows.release(slot)

    @property
    def state_kind(self) -> str:
        return f"onnxruntime {onnxruntime.__version__} {self._spec.format} {VERSION}"

    def save(self, slot: int) -> NDArray[np.uint8]:
        return self._rows.content(slot).reshape(-1).view(np.uint8)

    def restore(self, slot: int, length: int, state: NDArray[np.uint8]) -> None:
        self._make_room(length, [slot])
        heads = len(self._rows.arrays), self._config.num_kv_heads, length, self._head_dim
        self._rows.fill(slot, state.view(np.float32).reshape(heads))

    def close(self) -> None:
        self._session = None
        self._bindings.clear()
        self._rows.clear()
        self._tables = {}
        self._batch = _Batch(0, 1, 0, self._spec.vocab_size)

    def _make_room(self, length: int, slots: Sequence[int]) -> None:
        """Have a row for each slot, with space for `length` positions and for the filling of a short write."""
        if self._session is None:
            raise BackendError("the model was closed: load it again")
        if length > self._spec.context_length:
            raise BackendError(
                f"{length} tokens exceed the context of {self._spec.context_length} that was set at load"
            )
        with one_line(f"no memory for the keys and values of {length} tokens"):
            self._rows.reserve(0, length + _SHORTEST - 1)
            for slot in slots:
                self._rows.row(slot)

    def _step_binding(self, first: int, count: int) -> Any:
        """For `count` rows from `first` on; kept, since making one costs as much as a small model's step."""
        self._refresh()
        if (first, count) not in self._bindings:
            self._bindings[first, count] = self._bound(self._batch, first, count, count)
        return self._bindings[first, count]

    def _refresh(self) -> None:
        """Follow the rows' arrays to where they are now."""
        if self._generation != self._rows.generation:
            self._generation = self._rows.generation
            self._bindings.clear()
            self._tables = self._rotations()

    def _rotations(self) -> dict[str, NDArray[np.float32]]:
        """By the graph's names of its inputs; those of local layers only where there are any."""
        size = self._rows.num_positions, self._head_dim
        tables = dict(zip(("cos_cache", "sin_cache"), rotations(self._config, *size), strict=True))
        if any(self._config.local_layers):
            local = rotations(self._config, *size, local=True)
            tables |= zip(("local_cos_cache", "local_sin_cache"), local, strict=True)
        return tables

    def _bound(self, batch: "_Batch", row: int, count: int, num_logits: int) -> Any:
        """An IOBinding of addresses: the arrays must outlive it."""
        self._refresh()
        binding = self._session.io_binding()
        inputs: dict[str, NDArray[Any]] = {
            "input_ids": batch.ids[:count],
            "seqlens_k": batch.last[:count],
            "total_sequence_length": batch.total,
            "row_index": batch.wanted[:num_logits],
            **self._tables,
        }
        for name, array in inputs.items():
            binding.bind_input(name, *address(array))
        for index, array in enumerate(self._rows.arrays):
            name = f"{('key', 'value')[index % 2]}.{index // 2}"
            binding.bind_input(f"past_{name}", *address(array[row : row + count]))
            binding.bind_output(f"present_{name}", *address(array[row : row + count]))
        binding.bind_output("logits", *address(batch.logits[:num_logits]))
        return binding

    def _run(self, binding: Any, num_tokens: int) -> None:
        is_long = num_tokens * self._num_weights > LONG_CALL
        run_session(self._session, binding, self._stop if is_long else None)


class _Batch:
    """What one call of the graph is given, in memory whose address stays."""

    def __init__(self, batch: int, sequence: int, num_logits: int, vocab_size: int) -> None:
        self.ids = np.zeros((batch, sequence), np.int64)
        self.last = np.zeros(batch, np.int32)  # the last position of each row
        self.total = np.zeros((), np.int32)  # positions of the longest row
        self.wanted = np.zeros(num_logits, np.int64)  # positions of the flattened ids that get logits
        self.logits = np.empty((num_logits, vocab_size), np.float32)


def _session(file: GGUFFile, weight_format: Format, threads: int) -> Any:
    with open_graph(file, weight_format) as path:
        return open_session(path, threads)

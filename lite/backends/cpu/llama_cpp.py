"""A model on llama.cpp, from a GGUF file: one context, a sequence for each branch, one call for all rows of a step."""

import logging
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lite.backends.base import BackendSpec, Row
from lite.backends.cpu.cores import count_weights, suitable_threads
from lite.backends.cpu.llama_api import MAX_SEQUENCES, VERSION, Context, ContextSettings, Model, State
from lite.backends.cpu.llama_cells import Cells
from lite.backends.cpu.llama_formats import FileFormat, file_format
from lite.backends.host import LONG_CALL, HostBackend
from lite.errors import BackendError, ModelError
from lite.quant.gguf import GGUFFile

__all__ = ["LlamaBackend"]

_log = logging.getLogger(__name__)

_BATCH = 128  # tokens written at once: more was no faster
_FIRST_CELLS, _CELL_BLOCK = 1024, 256
_COPY = 100  # what a compaction costs for each live cell, in dead cells that a token passes over
_SPARE = 4  # cells beyond what all slots can need, as a part of it: 1 / 4, or a full cache would be copied all the time
_SEQUENCES_A_SLOT, _LEAST_SEQUENCES = 4, 16  # a compaction comes when they are used up


class LlamaBackend(HostBackend):
    """A Backend over llama.cpp, which computes with the weights as the file holds them.

    `spec.format` is the type of most of them; `f32` files have a float32 cache too. A row has the same bits whatever
    its companions, where it lies, how what came before was cut into calls and how many threads compute, if the file
    holds Q8_0 or Q4_0 alone; that is tried out when a model is loaded, and `spec.batch_invariant` says what came of it.

    The cache grows with use: it is copied to a larger one, or together when branches have left it. `context_length`
    bounds prompt and completion of a slot (default: the model's own); `threads` is the number of physical cores by
    default, or 1 for a small model. The file may be closed when the constructor is done. Raises ModelError for a file
    that llama.cpp does not read, and BackendError.
    """

    def __init__(
        self,
        file: GGUFFile,
        *,
        num_slots: int = 16,
        context_length: int | None = None,
        threads: int | None = None,
        forbidden_ids: Collection[int] = (),
    ) -> None:
        config, kind = file.config, _format(file)
        _check(file, num_slots)
        spec = BackendSpec(
            engine="llama",
            format=kind.name,
            vocab_size=config.vocab_size,
            num_slots=num_slots,
            context_length=min(context_length or config.context_length, config.context_length),
            batch_invariant=kind.batch_invariant,
        )
        super().__init__(spec, forbidden_ids)
        self._most_cells = _blocks(spec.num_slots * spec.context_length * (_SPARE + 1) // _SPARE)
        self._num_weights = count_weights(file.tensors.values())
        self._closed = False
        self._is_in_doubt = False  # whether the cache may hold what the book of cells does not know of
        self._model = Model(file.path)
        self._context = self._opened(
            ContextSettings(
                num_cells=min(_FIRST_CELLS, self._most_cells),
                num_sequences=min(max(_LEAST_SEQUENCES, _SEQUENCES_A_SLOT * num_slots), MAX_SEQUENCES),
                batch_size=max(_BATCH, num_slots),
                threads=threads or suitable_threads(file.tensors.values()),
                keys=kind.keys,
                values=kind.values,
                flash_attention=kind.flash_attention,
            )
        )
        self._cells = Cells(self._context.settings.num_sequences)
        if kind.batch_invariant:
            self._spec = replace(spec, batch_invariant=self.is_batch_invariant())

    def next_logits(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """One position for each row, in one call. The result is overwritten by the next call."""
        self._check_length(max(row.position for row in rows) + 1)
        slots, positions = [row.slot for row in rows], [row.position for row in rows]
        for slot, position in zip(slots, positions, strict=True):
            self._cut(slot, position)
        logits = self._decode([row.token for row in rows], positions, slots, wanted=True)
        for slot in slots:
            self._cells.append(slot)
        return logits

    def write(self, slot: int, start: int, ids: Sequence[int], *, scored: bool) -> NDArray[np.float32] | None:
        self._check_length(start + len(ids))
        self._cut(slot, start)
        if not ids:
            return None
        positions = range(start, start + len(ids))
        logits = self._decode(ids, positions, [slot] * len(ids), wanted=scored)
        self._cells.append(slot, len(ids))
        return logits if scored else None

    def fork(self, source: int, target: int, length: int) -> None:
        if source == target:
            self._cut(target, length)
            return
        self._cells.leave(target)
        if length:
            self._share(source, target, length)

    def release(self, slot: int) -> None:
        self._cells.leave(slot)

    @property
    def state_kind(self) -> str:
        settings = self._context.settings
        attention = "flash" if settings.flash_attention else "plain"
        return f"llama.cpp {VERSION} {self._spec.format} {settings.keys} {settings.values} {attention}"

    def save(self, slot: int) -> State:
        return self._context.sequence_state(self._cells.sequence(slot))

    def restore(self, slot: int, length: int, state: State) -> None:
        self._check_length(length)
        self._cells.leave(slot)
        self._make_room(length, 1)
        sequence = self._cells.take(slot)
        try:
            self._context.restore_sequence(sequence, state)
        except BaseException:
            self._is_in_doubt = True
            raise
        self._cells.append(slot, length)

    def close(self) -> None:
        self._closed = True
        self._context.close()
        self._model.close()

    def _opened(self, settings: ContextSettings) -> Context:
        return Context(self._model, settings, lambda: self._stop())

    def _check_length(self, length: int) -> None:
        if self._closed:
            raise BackendError("the model was closed: load it again")
        if length > self._spec.context_length:
            raise BackendError(
                f"{length} tokens exceed the context of {self._spec.context_length} that was set at load"
            )

    def _decode(
        self, ids: Sequence[int], positions: Sequence[int], slots: Sequence[int], *, wanted: bool
    ) -> NDArray[np.float32]:
        """Compute a token for each slot named, which gets a sequence if it has none."""
        self._make_room(len(ids), sum(not self._cells.has_sequence(slot) for slot in set(slots)))
        for slot in slots:
            if not self._cells.has_sequence(slot):
                self._cells.take(slot)
        sequences = [self._cells.sequence(slot) for slot in slots]
        is_long = len(ids) * self._num_weights > LONG_CALL
        try:
            return self._context.decode(ids, positions, sequences, logits=wanted, interruptible=is_long)
        except BaseException:  # an interrupt too leaves a cache of which nothing is known
            self._is_in_doubt = True
            raise

    def _cut(self, slot: int, length: int) -> None:
        """Keep the first `length` tokens of the slot."""
        known = self._cells.length(slot)
        assert length <= known, f"slot {slot} holds {known} tokens, not {length}"
        if length < known:
            self._share(slot, slot, length)

    def _share(self, source: int, target: int, length: int) -> None:
        """Give `target` a new sequence with the first tokens of `source`."""
        if not length:
            self._cells.leave(target)
            return
        self._make_room(0, 1)
        origin = self._cells.sequence(source)
        self._context.copy(origin, self._cells.take(target, source, length), length)

    def _make_room(self, num_cells: int, num_sequences: int) -> None:
        """Have so many that were not used since the last compaction."""
        taken, size = self._cells.num_taken, self._context.settings.num_cells
        fits = taken + num_cells <= size and self._cells.num_unused >= num_sequences
        if self._is_in_doubt or not fits or self._cells.pays(_COPY):
            self._compact(num_cells)

    def _compact(self, num_cells: int) -> None:
        """Drop what is not needed and put the rest together, in a larger cache where more than half is needed."""
        live, size = self._cells.num_live, self._context.settings.num_cells
        while size < min(2 * (live + num_cells), self._most_cells):
            size = min(2 * size, self._most_cells)
        larger = self._larger(size) if size > self._context.settings.num_cells else None
        for sequence in self._cells.left:
            self._context.remove(sequence)
        state = self._context.state() if live else None
        if larger:
            self._context.close()
            self._context = larger
        self._context.clear()
        if state is not None:
            self._context.restore(state)
        self._cells.compact()
        self._is_in_doubt = False

    def _larger(self, num_cells: int) -> Context:
        _log.debug("the cache grows to %d tokens", num_cells)
        return self._opened(replace(self._context.settings, num_cells=num_cells))


def _format(file: GGUFFile) -> FileFormat:
    num_bytes: dict[str, int] = defaultdict(int)
    for tensor in file.tensors.values():
        num_bytes[tensor.type] += tensor.num_bytes
    return file_format(num_bytes)


def _check(file: GGUFFile, num_slots: int) -> None:
    """Refuse what llama.cpp would refuse in words that help nobody, or not survive."""
    tokens = file.metadata.get("tokenizer.ggml.tokens")
    num_tokens = len(tokens) if isinstance(tokens, tuple) else 0
    if num_tokens != file.config.vocab_size:
        raise ModelError(
            f"{file.path}: llama.cpp wants as many tokens as the embedding has rows, {file.config.vocab_size}, not "
            f"{num_tokens}; use another engine, or convert the model again"
        )
    if num_slots >= MAX_SEQUENCES:
        raise BackendError(f"llama.cpp draws {MAX_SEQUENCES - 1} samples at once at most, not {num_slots}")


def _blocks(num_cells: int) -> int:
    """Rounded up, as llama.cpp does."""
    return -(-num_cells // _CELL_BLOCK) * _CELL_BLOCK

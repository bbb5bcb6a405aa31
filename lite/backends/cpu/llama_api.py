"""Every call of llama.cpp that an engine makes: a model, and a context whose cache holds many sequences of tokens.

The binding mirrors C structures that change from release to release, so its version is pinned exactly and nothing
else touches it but `llama_quantize.py`, which is run in a process of its own. llama.cpp ends the process where it meets
what it does not expect: that is checked before a call.
"""

import ctypes
import logging
import os
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lite.errors import BackendError, Interrupted

# Read when the library is loaded. Its threads would otherwise wait awake for each other without a limit: a step took
# seventeen times as long on a machine that had other work; not to spin at all costs half the speed of a single stream.
# A thousand turns are as good as twenty thousand on an idle machine, and on a busy one a step takes a seventh of what
# it takes with ten thousand (bench/llama_waiting.py).
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import llama_cpp  # after the environment that it reads
import llama_cpp.llama_cpp as llama

__all__ = ["MAX_SEQUENCES", "VERSION", "CacheType", "Context", "ContextSettings", "Model", "State"]

CacheType: TypeAlias = Literal["F32", "F16", "BF16"]
State: TypeAlias = NDArray[np.uint8]

VERSION = str(llama_cpp.__version__)
MAX_SEQUENCES = int(llama.llama_max_parallel_sequences())
_TYPES = {"F32": llama.GGML_TYPE_F32, "F16": llama.GGML_TYPE_F16, "BF16": 30}  # the binding forgot the last
_NO_SLOT, _ABORTED = 1, 2  # what llama_decode returns
_END = -1  # of a range of positions: all that follow

_log = logging.getLogger(__name__)
_LEVELS = {3: logging.INFO, 4: logging.INFO}  # its warnings and errors; an error is raised as well
_ERROR = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSettings:
    """How a context computes, and what it has room for."""

    num_cells: int  # tokens in the cache, those that sequences share counted once; a multiple of 256
    num_sequences: int
    batch_size: int  # tokens of one call at most; no more than cells
    threads: int
    keys: CacheType
    values: CacheType
    flash_attention: bool


class Model:
    """The weights of a GGUF file, which must have been checked. Raises BackendError where llama.cpp refuses it."""

    def __init__(self, path: Path) -> None:
        params = llama.llama_model_default_params()
        params.n_gpu_layers = 0
        _errors.clear()
        self.address = llama.llama_model_load_from_file(os.fsencode(path), params)
        if not self.address:
            raise BackendError(f"llama.cpp does not load {path}: {_reason()}")
        self.vocab_size = int(llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.address)))
        self.close = weakref.finalize(self, llama.llama_model_free, self.address)


class Context:
    """A cache of cells, each the keys and values of one token for one or more sequences, and what computes with it.

    Cells are taken in order as long as none was given back; `restore` puts those of a state side by side from the
    first on, in their order. `interrupted` is asked now and then while an interruptible call runs, and stops it.
    """

    def __init__(self, model: Model, settings: ContextSettings, interrupted: Callable[[], bool]) -> None:
        self.settings = settings
        self._model = model
        self._batch = _Batch(settings.batch_size)
        self._raised: BaseException | None = None
        self._abort = llama.ggml_abort_callback(self._must_stop)
        self._interrupted = interrupted
        _errors.clear()
        self._address = llama.llama_init_from_model(model.address, _params(settings))
        if not self._address:
            raise BackendError(f"llama.cpp has no memory for {settings.num_cells} tokens: {_reason()}")
        self._memory = llama.llama_get_memory(self._address)
        self.close = weakref.finalize(self, _free, self._address, model)

    def decode(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        sequences: Sequence[int],
        *,
        logits: bool = True,
        interruptible: bool = False,
    ) -> NDArray[np.float32]:
        """Compute one token for each entry and take a cell for each; positions go on from those of the sequence.

        Returns the logits after each of them, (tokens, vocab), overwritten by the next call; none of them without
        `logits`. Raises BackendError and Interrupted, and then no cell was taken.
        """
        self._check(tokens, sequences)
        batch = self._batch.filled(tokens, positions, sequences, logits)
        _errors.clear()
        code = self._decode_interruptibly(batch) if interruptible else llama.llama_decode(self._address, batch)
        if code:
            raise self._failure(code)
        shape = (len(tokens) if logits else 0, self._model.vocab_size)
        if not logits:
            return np.empty(shape, np.float32)
        found: NDArray[np.float32] = np.ctypeslib.as_array(llama.llama_get_logits(self._address), shape)
        return found

    def copy(self, source: int, target: int, length: int) -> None:
        """Let `target`, which must hold nothing, share the first `length` tokens of `source`."""
        self._check((), (source, target))
        llama.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def remove(self, sequence: int) -> None:
        """Forget a sequence; the cells that no other shares can be taken again."""
        self._check((), (sequence,))
        llama.llama_memory_seq_rm(self._memory, sequence, 0, _END)

    def clear(self) -> None:
        """Forget everything."""
        llama.llama_memory_clear(self._memory, False)

    def state(self) -> State:
        """All that is in the cache."""
        state: State = np.empty(llama.llama_state_get_size(self._address), np.uint8)
        if llama.llama_state_get_data(self._address, _bytes(state), len(state)) != len(state):
            raise BackendError(f"llama.cpp could not copy its cache: {_reason()}")
        return state

    def restore(self, state: State) -> None:
        """Replace the cache's content by another's, of a context with the same kinds of keys and values."""
        if llama.llama_state_set_data(self._address, _bytes(state), len(state)) != len(state):
            raise BackendError(f"llama.cpp could not restore its cache: {_reason()}")

    def sequence_state(self, sequence: int) -> State:
        """All that is in the cache for one sequence."""
        self._check((), (sequence,))
        state: State = np.empty(llama.llama_state_seq_get_size(self._address, sequence), np.uint8)
        if llama.llama_state_seq_get_data(self._address, _bytes(state), len(state), sequence) != len(state):
            raise BackendError(f"llama.cpp could not copy a part of its cache: {_reason()}")
        return state

    def restore_sequence(self, sequence: int, state: State) -> None:
        """Give a sequence, which must hold nothing, what another held; the next cells are taken for it.

        The state must be one that `sequence_state` gave, of a context with the same kinds of keys and values.
        """
        self._check((), (sequence,))
        _errors.clear()
        if llama.llama_state_seq_set_data(self._address, _bytes(state), len(state), sequence) != len(state):
            raise BackendError(f"llama.cpp could not restore a part of its cache: {_reason()}")

    def _check(self, tokens: Sequence[int], sequences: Sequence[int]) -> None:
        if not self.close.alive:
            raise BackendError("the model was closed: load it again")
        if len(tokens) > self.settings.batch_size:
            raise BackendError(f"{len(tokens)} tokens at once exceed the limit of {self.settings.batch_size}")
        for token in tokens:
            if not 0 <= token < self._model.vocab_size:
                raise BackendError(f"token {token} is none of the model's 0..{self._model.vocab_size - 1}")
        for sequence in sequences:
            if not 0 <= sequence < self.settings.num_sequences:
                raise BackendError(f"sequence {sequence} is none of 0..{self.settings.num_sequences - 1}")

    def _decode_interruptibly(self, batch: Any) -> int:
        """The callback is asked at each node of the graph: too often for a short call."""
        self._raised = None
        llama.llama_set_abort_callback(self._address, self._abort, None)
        try:
            return int(llama.llama_decode(self._address, batch))
        finally:
            llama.llama_set_abort_callback(self._address, llama.ggml_abort_callback(), None)
            if self._raised:
                raise self._raised

    def _must_stop(self, _: object) -> bool:
        """Ctrl-C arrives here too, and would be lost in the C code above."""
        try:
            return self._interrupted()
        except BaseException as error:  # noqa: BLE001  # raised again when the call is back
            self._raised = error
            return True

    def _failure(self, code: int) -> BackendError:
        if code == _ABORTED:
            return Interrupted()
        if code == _NO_SLOT:
            return BackendError(f"the cache of {self.settings.num_cells} tokens is full")
        return BackendError(f"a step of the model failed: {_reason()} (code {code})")


class _Batch:
    """The arrays of a call, in memory that we own: made once, as making them costs more than filling them."""

    def __init__(self, size: int) -> None:
        self._tokens = np.zeros(size, np.int32)
        self._positions = np.zeros(size, np.int32)
        self._sequences = np.zeros(size, np.int32)
        self._wanted = np.zeros(size, np.int8)
        self._ones = np.ones(size, np.int32)  # each token belongs to one sequence
        self._pointers = self._sequences.ctypes.data + 4 * np.arange(size, dtype=np.uintp)
        self._struct = llama.llama_batch(
            n_tokens=0,
            token=_pointer(self._tokens, ctypes.c_int32),
            embd=None,
            pos=_pointer(self._positions, ctypes.c_int32),
            n_seq_id=_pointer(self._ones, ctypes.c_int32),
            seq_id=_pointer(self._pointers, ctypes.POINTER(ctypes.c_int32)),
            logits=_pointer(self._wanted, ctypes.c_int8),
        )

    def filled(self, tokens: Sequence[int], positions: Sequence[int], sequences: Sequence[int], wanted: bool) -> Any:
        count = len(tokens)
        self._tokens[:count] = tokens
        self._positions[:count] = positions
        self._sequences[:count] = sequences
        self._wanted[:count] = wanted
        self._struct.n_tokens = count
        return self._struct


def _free(address: int, _: Model) -> None:
    """Of a context; the model, which must outlive it, is kept by being named."""
    llama.llama_free(address)


def _params(settings: ContextSettings) -> Any:
    params = llama.llama_context_default_params()
    params.n_ctx = settings.num_cells
    params.n_batch = params.n_ubatch = settings.batch_size
    params.n_seq_max = settings.num_sequences
    params.n_outputs_max = max(settings.batch_size, settings.num_sequences)  # fewer would end the process
    params.n_threads = params.n_threads_batch = settings.threads
    params.type_k, params.type_v = _TYPES[settings.keys], _TYPES[settings.values]
    params.flash_attn_type = (
        llama.LLAMA_FLASH_ATTN_TYPE_ENABLED if settings.flash_attention else llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
    )
    params.kv_unified = True
    params.offload_kqv = params.op_offload = False
    params.no_perf = True
    return params


def _pointer(array: NDArray[Any], kind: Any) -> Any:
    return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))


def _bytes(array: State) -> Any:
    return _pointer(array, ctypes.c_uint8)


# Its log goes to ours; its errors become part of an exception.

_errors: list[str] = []


def _reason() -> str:
    """The first error of those that the last call logged; the others follow from it."""
    return " ".join(_errors[0].split())[:300] if _errors else "it does not say why"


@llama.llama_log_callback  # type: ignore[untyped-decorator]  # the binding has no types
def _on_log(level: int, text: bytes, _: object) -> None:
    line = text.decode("utf-8", "replace").strip()
    if level == _ERROR:
        _errors.append(line)
    if line:
        _log.log(_LEVELS.get(level, logging.DEBUG), "%s", line)


llama.llama_log_set(_on_log, None)
llama.llama_backend_init()

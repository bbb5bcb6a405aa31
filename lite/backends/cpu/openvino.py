"""A model on OpenVINO's CPU plugin, from a GGUF file: attention over blocks of keys and values that branches share.

OpenVINO multiplies rows with packed weights directly, and its attention takes any sequences side by side: a prompt is
one call, a step is one call with a sequence of one token for each branch.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lite.backends.base import BackendSpec, Row
from lite.backends.cpu.blocks import Blocks
from lite.backends.cpu.cores import count_weights, suitable_threads
from lite.backends.host import LONG_CALL, HostBackend
from lite.errors import BackendError, Interrupted
from lite.models import ModelConfig
from lite.quant.gguf import GGUFFile
from lite.quant.openvino import VERSION, Format, open_weights
from lite.quant.openvino_graph import build_graph
from lite.quant.openvino_runtime import openvino
from lite.quant.packing import BLOCK_SIZE, HeadLayout
from lite.quant.rotary import rotations

__all__ = ["OpenVinoBackend"]

_SHORTEST = 2  # tokens of a call: a single one would take other kernels, with other bits
_LOOK = 20  # milliseconds between two looks whether a long call is to end


class OpenVinoBackend(HostBackend):
    """A Backend over OpenVINO.

    Keys and values are float32 in the format f32 and float16 in the others; all else is computed in float32 but for
    the products, whose activations are rounded to eight bits in groups (f32: not at all). `context_length` bounds
    prompt and completion of a slot (default: the model's own); `threads` is the number of physical cores by default,
    or 1 for a small model. The file may be closed when the constructor is done. Raises BackendError where OpenVINO
    fails.
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
            engine="openvino",
            format=format,
            vocab_size=config.vocab_size,
            num_slots=num_slots,
            context_length=min(context_length or config.context_length, config.context_length),
        )
        super().__init__(spec, forbidden_ids)
        self._num_weights = count_weights(file.tensors.values())
        self._angles = _angles(config, spec.context_length + _SHORTEST - 1)
        model = _compiled(file, format, threads or suitable_threads(file.tensors.values()))
        self._request: Any = model.create_infer_request()
        shapes = [_block_shape(port) for port in model.inputs if "_cache." in port.any_name]
        self._cache_names = [port.any_name for port in model.inputs if "_cache." in port.any_name]
        per_slot = -(-(spec.context_length + _SHORTEST - 1) // shapes[0][1])
        self._blocks = Blocks(shapes, _cache_type(format), max_blocks=num_slots * per_slot + 1)
        self._bound: list[NDArray[np.floating]] = []  # the arrays that the request knows
        self._finished = (0, 0)  # tokens and wanted rows of the last call that ran to its end
        self._is_cut_off = False  # whether another was begun after it
        self._spec = replace(spec, batch_invariant=self.is_batch_invariant())

    def next_logits(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """One position for each row, as one batch. The result is overwritten by the next call."""
        pieces = [_Piece(row.slot, row.position, (row.token,)) for row in rows]
        for piece in pieces:
            self._check(piece.slot, piece.start, piece.end)
            self._check_tokens(piece.ids)
        filling = [_Piece(self._spec.num_slots, 0, (0,))] * (_SHORTEST - len(rows))
        return self._run(pieces + filling, range(len(rows)))

    def write(self, slot: int, start: int, ids: Sequence[int], *, scored: bool) -> NDArray[np.float32] | None:
        end, logits = start + len(ids), None
        self._check(slot, start, end)
        self._check_tokens(ids)
        if ids:
            filled = (*ids, *[0] * (_SHORTEST - len(ids)))
            logits = self._run([_Piece(slot, start, filled)], range(len(ids)) if scored else [len(ids) - 1])
        self._blocks.make_room(slot, end, end)
        return logits if scored else None

    def fork(self, source: int, target: int, length: int) -> None:
        self._check(source, length, length)
        self._blocks.fork(source, target, length)

    def release(self, slot: int) -> None:
        self._blocks.release(slot)

    @property
    def state_kind(self) -> str:
        release = openvino.__version__.partition("-")[0]
        return f"openvino {release} {self._spec.format} {VERSION}"

    def save(self, slot: int) -> NDArray[np.uint8]:
        return self._blocks.content(slot).reshape(-1).view(np.uint8)

    def restore(self, slot: int, length: int, state: NDArray[np.uint8]) -> None:
        self._check(slot, 0, length)
        heads, _, size = self._blocks.shape
        content = state.view(_cache_type(self._spec.format)).reshape(-1, heads, length, size)
        with _one_line(f"no memory for the keys and values of {length} tokens"):
            self._blocks.fill(slot, content)

    def close(self) -> None:
        self._request = None
        self._bound = []
        self._blocks.clear()

    def _check(self, slot: int, start: int, end: int) -> None:
        """Whether a slot can be written there: OpenVINO would reach beyond its arrays. Raises BackendError."""
        held, context = self._blocks.length(slot), self._spec.context_length
        if self._request is None:
            raise BackendError("the model was closed: load it again")
        if end > context:
            raise BackendError(f"{end} tokens exceed the context of {context} that was set at load")
        if start > held:
            raise BackendError(f"slot {slot} holds {held} tokens, not {start}")

    def _check_tokens(self, ids: Sequence[int]) -> None:
        size = self._spec.vocab_size
        for token in ids:
            if not 0 <= token < size:
                raise BackendError(f"token {token} is none of the model's 0..{size - 1}")

    def _run(self, pieces: "Sequence[_Piece]", wanted: Sequence[int]) -> NDArray[np.float32]:
        """Feed the pieces side by side; the logits of the wanted tokens, (wanted, vocab)."""
        if self._is_cut_off:
            self._settle()
        for piece in pieces:
            with _one_line(f"no memory for the keys and values of {piece.end} tokens"):
                self._blocks.make_room(piece.slot, piece.start, piece.end)
        positions = np.concatenate([np.arange(piece.start, piece.end) for piece in pieces])
        tables = [self._blocks.table(piece.slot) for piece in pieces]
        self._is_cut_off = True
        with _one_line("a step of the model failed"):
            self._bind()
            for name, table in self._angles.items():
                self._give(name, table[:, positions])
            self._give("input_ids", np.concatenate([np.asarray(piece.ids, np.int64) for piece in pieces]))
            self._give("row_index", np.asarray(wanted, np.int64))
            self._give("past_lens", _int32([piece.start for piece in pieces]))
            self._give("subsequence_begins", _sums([len(piece.ids) for piece in pieces]))
            self._give("block_indices", _int32(np.concatenate(tables)))
            self._give("block_indices_begins", _sums([len(table) for table in tables]))
            self._give("max_context_len", _int32(max(piece.end for piece in pieces)))
            self._infer(is_long=len(positions) * self._num_weights > LONG_CALL)
        self._is_cut_off, self._finished = False, (len(positions), len(wanted))
        logits: NDArray[np.float32] = self._request.get_output_tensor(0).data
        return logits

    def _settle(self) -> None:
        """Make a call unlike the last finished one, after a later one was cut off.

        OpenVINO infers a node's shapes only where those of its inputs are not the ones of its last whole call, so that
        what the cut call had left would be taken for right.
        """
        self._is_cut_off = False
        tokens, rows = self._finished
        num_tokens, num_rows = 3 if tokens == _SHORTEST else _SHORTEST, 2 if rows == 1 else 1
        self._run([_Piece(self._spec.num_slots, 0, (0,))] * num_tokens, range(num_rows))

    def _bind(self) -> None:
        """Tell the request where the blocks are, if they have moved."""
        if self._bound is not self._blocks.arrays:
            for name, array in zip(self._cache_names, self._blocks.arrays, strict=True):
                self._request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
            self._bound = self._blocks.arrays

    def _give(self, name: str, array: NDArray[Any]) -> None:
        self._request.set_tensor(name, openvino.Tensor(np.asarray(array, order="C")))

    def _infer(self, *, is_long: bool) -> None:
        if not is_long:
            self._request.infer()
            return
        self._request.start_async()
        try:
            while not self._request.wait_for(_LOOK):
                if self._stop():
                    raise Interrupted
            self._request.wait()
        except BaseException:
            self._cancel()
            raise

    def _cancel(self) -> None:
        """End the call that is under way: it may not read blocks any more when this returns."""
        self._request.cancel()
        with suppress(RuntimeError):  # that it was cancelled
            self._request.wait()


@dataclass(frozen=True, slots=True)
class _Piece:
    """Tokens of one slot, and where they begin."""

    slot: int
    start: int
    ids: Sequence[int]

    @property
    def end(self) -> int:
        return self.start + len(self.ids)


def _compiled(file: GGUFFile, weight_format: Format, threads: int) -> Any:
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,  # another process would pin its threads to the same cores
        "KV_CACHE_PRECISION": "f32" if weight_format == "f32" else "f16",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": _group_size(file.config, weight_format),
    }
    with open_weights(file, weight_format) as weights, _one_line("the model could not be compiled"):
        return openvino.Core().compile_model(build_graph(file.config, weights), "CPU", settings)


def _group_size(config: ModelConfig, weight_format: Format) -> int:
    """Of activations that are rounded with one scale, 0: none are.

    One beyond what a product sums over, or no multiple of 16, would leave that product's activations as they are, and
    its bits to the batch.
    """
    if weight_format != "int8-row":
        return 0 if weight_format == "f32" else BLOCK_SIZE
    attended = config.num_heads * HeadLayout(config.head_dim, config.rope_interleaved).padded_dim
    common = math.gcd(config.hidden_size, config.intermediate_size, attended)
    return BLOCK_SIZE if common % BLOCK_SIZE else common


def _cache_type(weight_format: str) -> type[np.floating]:
    return np.float32 if weight_format == "f32" else np.float16


def _block_shape(port: Any) -> tuple[int, int, int]:
    """(kv heads, positions, head_dim) of a block, as the engine has chosen it."""
    _, heads, positions, size = port.partial_shape
    return heads.get_length(), positions.get_length(), size.get_length()


def _angles(config: ModelConfig, positions: int) -> Mapping[str, NDArray[np.float32]]:
    """By the graph's names of its inputs: (2, positions, padded head_dim), cosines and sines."""
    padded = HeadLayout(config.head_dim, config.rope_interleaved).padded_dim
    kinds = {"angles": False} | ({"local_angles": True} if any(config.local_layers) else {})
    return {name: np.tile(rotations(config, positions, padded, local=local), 2) for name, local in kinds.items()}


def _int32(values: Any) -> NDArray[np.int32]:
    return np.asarray(values, np.int32)


def _sums(counts: Sequence[int]) -> NDArray[np.int32]:
    """Where each of several neighbours begins, and where the last one ends."""
    return _int32(np.cumsum([0, *counts]))


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Turn OpenVINO's errors into one of ours."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        raise BackendError(f"{what}: {' '.join(str(error).split())[:300]}") from None

"""What an exported decoder's graph takes and gives, and the weights in it: read from the graph, never from its name."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from lite.errors import ModelError
from lite.models import TensorInfo

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

__all__ = ["Names", "Port", "Signature", "data_files", "load_graph", "read_signature", "read_weights"]

_ELEMENTS = {1: "float32", 10: "float16", 7: "int64", 6: "int32"}  # ONNX's numbers: numpy's names
_WEIGHTS = {1: ("F32", 4), 10: ("F16", 2), 16: ("BF16", 2), 3: ("INT8", 1), 2: ("UINT8", 1)}  # name, bytes
_NUM_LOGITS = "num_logits_to_keep"
_FUSED = "GroupQueryAttention"


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Of inputs and outputs; %d stands for the layer. The defaults are Optimum's."""

    input_ids: str = "input_ids"
    attention_mask: str = "attention_mask"
    position_ids: str = "position_ids"
    past_key_names: str = "past_key_values.%d.key"
    past_value_names: str = "past_key_values.%d.value"
    logits: str = "logits"
    present_key_names: str = "present.%d.key"
    present_value_names: str = "present.%d.value"


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output."""

    name: str
    dtype: str  # numpy's name
    shape: tuple[int | None, ...]  # None: any size


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A decoder's inputs and outputs. Keys and values are told layer by layer, keys first."""

    ids: Port  # (batch, sequence)
    mask: Port | None  # (batch, past and sequence): 1 for what is real
    positions: Port | None  # (batch, sequence)
    num_logits: Port | None  # (): how many of the last positions get logits; 0 for all
    past: tuple[Port, ...]  # (batch, kv heads, past, head_dim)
    present: tuple[str, ...]  # the same with the sequence's own
    logits: Port  # (batch, sequence, vocab)
    fused: bool  # GroupQueryAttention, which counts a row's keys from the first on; others read what the mask says


def load_graph(path: Path) -> "ModelProto":
    """Without the weights that lie in files of their own. Raises ModelError, which names the file."""
    import onnx
    from google.protobuf.message import Error

    try:
        return onnx.load(path, load_external_data=False)
    except (OSError, ValueError, Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is no ONNX model"
        raise ModelError(f"cannot read {path}: {reason}; download or export it again") from None


def read_signature(graph: "GraphProto", names: Names) -> Signature:
    """Raises ModelError, which does not name the file, for a graph that is no decoder or wants what nobody gives it."""
    constants = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: value for value in graph.input if value.name not in constants}
    outputs = {value.name: value for value in graph.output}
    num_layers = next(layer for layer in range(len(inputs) + 1) if names.past_key_names % layer not in inputs)
    if not num_layers:
        raise ModelError(f"its graph has no input {names.past_key_names % 0!r}: only decoders with a cache are read")
    past = _layered(names.past_key_names, names.past_value_names, num_layers)
    present = _layered(names.present_key_names, names.present_value_names, num_layers)
    if missing := [name for name in (names.input_ids, *past) if name not in inputs]:
        raise ModelError(f"its graph lacks the input {missing[0]!r}")
    if missing := [name for name in (names.logits, *present) if name not in outputs]:
        raise ModelError(f"its graph lacks the output {missing[0]!r}")
    ranks = {names.attention_mask: 2, names.position_ids: 2, _NUM_LOGITS: 0}
    if strangers := sorted(inputs.keys() - {names.input_ids, *ranks, *past}):
        raise ModelError(f"its graph wants the input {strangers[0]!r}, which is not known; export it without")
    optional = {name: _port(inputs[name], rank) for name, rank in ranks.items() if name in inputs}
    return Signature(
        ids=_port(inputs[names.input_ids], 2),
        mask=optional.get(names.attention_mask),
        positions=optional.get(names.position_ids),
        num_logits=optional.get(_NUM_LOGITS),
        past=tuple(_port(inputs[name], 4) for name in past),
        present=present,
        logits=_port(outputs[names.logits], 3),
        fused=_is_fused(graph, set(past)),
    )


def read_weights(graph: "GraphProto") -> dict[str, TensorInfo]:
    """The tensors that are weights, with the shapes and types that they stand for; packed ones are called Q4, Q8."""
    packed = dict(_packed(graph))
    weights = {}
    for tensor in graph.initializer:
        if tensor.data_type not in _WEIGHTS:
            continue
        kind, item_bytes = _WEIGHTS[tensor.data_type]
        shape = tuple(tensor.dims)
        num_bytes = prod(shape) * item_bytes
        if tensor.name in packed:
            bits = packed[tensor.name]
            kind, shape = f"Q{bits}", (shape[0], prod(shape[1:]) * 8 // bits)
        weights[tensor.name] = TensorInfo(tensor.name, shape, kind, 0, num_bytes)
    return weights


def data_files(graph: "GraphProto") -> set[str]:
    """The files beside the model's that hold weights, as the graph names them."""
    return {entry.value for tensor in graph.initializer for entry in tensor.external_data if entry.key == "location"}


def _layered(keys: str, values: str, num_layers: int) -> tuple[str, ...]:
    return tuple(template % layer for layer in range(num_layers) for template in (keys, values))


def _port(value: "ValueInfoProto", rank: int) -> Port:
    tensor = value.type.tensor_type
    if tensor.elem_type not in _ELEMENTS:
        raise ModelError(f"{value.name!r} of its graph is of ONNX's type {tensor.elem_type}, which is not supported")
    shape = tuple(size.dim_value if size.HasField("dim_value") else None for size in tensor.shape.dim)
    if len(shape) != rank:
        raise ModelError(f"{value.name!r} of its graph has {len(shape)} dimensions, not {rank}")
    return Port(value.name, _ELEMENTS[tensor.elem_type], shape)


def _is_fused(graph: "GraphProto", past: set[str]) -> bool:
    """Whether fused attention, and nothing else, reads the past."""
    readers = {node.op_type for node in graph.node if past.intersection(node.input)}
    return readers == {_FUSED}


def _packed(graph: "GraphProto") -> Iterator[tuple[str, int]]:
    """Names of weights that are packed in blocks, and how many bits each has."""
    place = {"MatMulNBits": 1, "GatherBlockQuantized": 0}
    for node in graph.node:
        if node.op_type in place:
            yield node.input[place[node.op_type]], _bits(node)


def _bits(node: "NodeProto") -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "bits"), 4)

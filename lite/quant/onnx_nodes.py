"""An ONNX graph while it is built: nodes in order, and weights that go straight to a file."""

from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, StringStringEntryProto, TensorProto, ValueInfoProto, helper, numpy_helper

__all__ = ["Graph"]

_MICROSOFT = frozenset(
    {
        "GatherBlockQuantized",
        "GroupQueryAttention",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "QuickGelu",
        "SkipSimplifiedLayerNormalization",
    }
)
_ALIGNMENT = 4096  # bytes; a page, so that weights can be mapped instead of read
_INLINE = 1024  # bytes; smaller weights stay in the protobuf, which may not exceed 2 GiB


class Graph:
    """Nodes and weights. Operators of ONNX Runtime's own domain are recognised by name."""

    def __init__(self, weights: BinaryIO, location: str) -> None:
        """Larger weights are appended to the file `weights`, which the model will find at `location`."""
        self._weights = weights
        self._location = location
        self._nodes: list[NodeProto] = []
        self._initializers: dict[str, TensorProto] = {}

    def add(self, operator: str, *inputs: str, outputs: tuple[str, ...] = (), **attributes: Any) -> str:
        """Append a node and return its first output's name; an empty name is an input or output left out."""
        outputs = outputs or (f"{operator}.{len(self._nodes)}",)
        domain = "com.microsoft" if operator in _MICROSOFT else ""
        self._nodes.append(helper.make_node(operator, inputs, outputs, domain=domain, **attributes))
        return outputs[0]

    def weight(self, name: str, values: NDArray[Any] | np.generic) -> str:
        """Keep an array under a name and return the name."""
        array = np.asarray(values, order="C")
        if array.nbytes < _INLINE:
            self._initializers[name] = numpy_helper.from_array(array, name)
            return name
        offset = -(-self._weights.tell() // _ALIGNMENT) * _ALIGNMENT
        self._weights.seek(offset)
        self._weights.write(array.data)
        tensor = TensorProto(name=name, dims=array.shape, data_type=helper.np_dtype_to_tensor_dtype(array.dtype))
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", self._location), ("offset", offset), ("length", array.nbytes)):
            tensor.external_data.append(StringStringEntryProto(key=key, value=str(value)))
        self._initializers[name] = tensor
        return name

    def reshaped(self, name: str, source: str, shape: tuple[int, ...]) -> str:
        """The same bytes of a weight under a second name and shape."""
        tensor = TensorProto()
        tensor.CopyFrom(self._initializers[source])
        tensor.name = name
        tensor.dims[:] = shape
        self._initializers[name] = tensor
        return name

    def model(self, inputs: list[ValueInfoProto], outputs: list[ValueInfoProto]) -> ModelProto:
        body = helper.make_graph(self._nodes, "decoder", inputs, outputs, list(self._initializers.values()))
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(body, opset_imports=opsets, ir_version=10, producer_name="lite")

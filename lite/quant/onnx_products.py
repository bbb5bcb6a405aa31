"""Rows times a weight matrix, in each of the formats: the only part of a graph that depends on the format.

All of these kernels give a row the same bits alone and among others. Those that do not are avoided: dynamic int8 with
one scale for the whole batch, MatMulNBits with float activations or with blocks above 32.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from lite.quant.onnx_nodes import Graph
from lite.quant.packing import BLOCK_SIZE, pack_blocks, pack_rows

__all__ = ["Activations", "Products", "products_for"]

_INTEGER_ACTIVATIONS = 4  # MatMulNBits accuracy_level; at the others a row's bits change with the batch


@dataclass(frozen=True, slots=True)
class Activations:
    """A matrix's name, and for per-row int8 those of its integers and of its rows' scales, shape (rows, 1)."""

    plain: str
    codes: str = ""
    scales: str = ""


class Products(Protocol):
    """Names in, names out; matrices are (out, in), as GGUF has them."""

    def embedding(self, table: NDArray[np.float32], ids: str) -> str:
        """The table's rows of the ids."""
        ...

    def prepare(self, rows: str, count: str) -> Activations:
        """What the products of one matrix share; `count` names any vector of as many elements as it has rows."""
        ...

    def multiply(self, rows: Activations, name: str, matrix: NDArray[np.float32], output: str = "") -> str:
        """Rows times the transposed matrix, which is kept as `name`."""
        ...

    def head(self, rows: Activations, matrix: NDArray[np.float32], output: str, *, tied: bool) -> None:
        """The logits, as `output`; `tied` says that the matrix is the embedding's table."""
        ...


def products_for(weight_format: str, graph: Graph, head_bits: int = 8) -> Products:
    """Of a name in `lite.quant.onnx.FORMATS`; q8 and q4 have embedding and head of `head_bits`, 8 or 4."""
    if weight_format == "f32":
        return _FloatProducts(graph)
    if weight_format == "int8-row":
        return _RowProducts(graph)
    return _BlockProducts(graph, {"q8": 8, "q4": 4}[weight_format], head_bits)


class _FloatProducts:
    """float32, as the file has them."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def embedding(self, table: NDArray[np.float32], ids: str) -> str:
        return self._graph.add("Gather", self._graph.weight("embedding", table), ids)

    def prepare(self, rows: str, count: str) -> Activations:
        return Activations(rows)

    def multiply(self, rows: Activations, name: str, matrix: NDArray[np.float32], output: str = "") -> str:
        return self._graph.add("MatMul", rows.plain, self._graph.weight(name, matrix.T), outputs=_named(output))

    def head(self, rows: Activations, matrix: NDArray[np.float32], output: str, *, tied: bool) -> None:
        self.multiply(rows, "output.weight", matrix, output)


class _RowProducts:
    """Eight bits, one scale for each row of the weights and one for each row of the activations."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._zero_points: dict[str, str] = {}
        graph.weight("int8.one", np.float32(1))
        graph.weight("int8.zero_point", np.uint8(128))
        graph.weight("int8.inverse_127", np.float32(1 / 127))
        graph.weight("int8.smallest_scale", np.float32(1e-30))
        graph.weight("int8.columns", np.array([1]))

    def embedding(self, table: NDArray[np.float32], ids: str) -> str:
        return _blockwise_embedding(self._graph, table, ids)

    def prepare(self, rows: str, count: str) -> Activations:
        graph = self._graph
        largest = graph.add("ReduceMax", graph.add("Abs", rows), "int8.columns", keepdims=0)
        scales = graph.add("Max", graph.add("Mul", largest, "int8.inverse_127"), "int8.smallest_scale")
        codes = graph.add("QuantizeLinear", rows, scales, self._zeros(count), axis=0)
        return Activations(rows, codes, graph.add("Unsqueeze", scales, "int8.columns"))

    def multiply(self, rows: Activations, name: str, matrix: NDArray[np.float32], output: str = "") -> str:
        graph = self._graph
        codes, scales = pack_rows(matrix)
        weights = graph.weight(name, codes), graph.weight(f"{name}.scales", scales)
        zeros = graph.weight(f"int8.zeros.{len(matrix)}", np.zeros(len(matrix), np.int8))
        terms = rows.codes, weights[0], "int8.one", weights[1], "int8.zero_point", zeros
        product = graph.add("MatMulIntegerToFloat", *terms)
        return graph.add("Mul", product, rows.scales, outputs=_named(output))

    def head(self, rows: Activations, matrix: NDArray[np.float32], output: str, *, tied: bool) -> None:
        self.multiply(rows, "output.weight", matrix, output)

    def _zeros(self, count: str) -> str:
        """A zero point for each row: QuantizeLinear wants as many as it has scales."""
        if count not in self._zero_points:
            value = helper.make_tensor("", TensorProto.UINT8, [1], [128])
            self._zero_points[count] = self._graph.add("ConstantOfShape", self._graph.add("Shape", count), value=value)
        return self._zero_points[count]


class _BlockProducts:
    """Eight or four bits, one scale for 32 neighbours of the weights; activations have eight."""

    def __init__(self, graph: Graph, bits: int, head_bits: int) -> None:
        self._graph = graph
        self._bits = bits
        self._head_bits = head_bits

    def embedding(self, table: NDArray[np.float32], ids: str) -> str:
        return _blockwise_embedding(self._graph, table, ids, self._head_bits)

    def prepare(self, rows: str, count: str) -> Activations:
        return Activations(rows)

    def multiply(self, rows: Activations, name: str, matrix: NDArray[np.float32], output: str = "") -> str:
        codes, scales = pack_blocks(matrix, self._bits)
        weights = self._graph.weight(name, codes), self._graph.weight(f"{name}.scales", scales)
        return self._add(rows, weights, matrix.shape, self._bits, output)

    def head(self, rows: Activations, matrix: NDArray[np.float32], output: str, *, tied: bool) -> None:
        graph, bits, (width, depth) = self._graph, self._head_bits, matrix.shape
        if tied and depth % BLOCK_SIZE == 0:
            codes = graph.reshaped("output.weight", "embedding", (width, depth // BLOCK_SIZE, BLOCK_SIZE * bits // 8))
            weights = codes, "embedding.scales"
        else:
            packed, scales = pack_blocks(matrix, bits)
            weights = graph.weight("output.weight", packed), graph.weight("output.weight.scales", scales)
        self._add(rows, weights, matrix.shape, bits, output)

    def _add(self, rows: Activations, weights: tuple[str, str], shape: tuple[int, ...], bits: int, output: str) -> str:
        sizes = {"N": shape[0], "K": shape[1], "bits": bits, "block_size": BLOCK_SIZE}
        sizes["accuracy_level"] = _INTEGER_ACTIVATIONS
        return self._graph.add("MatMulNBits", rows.plain, *weights, outputs=_named(output), **sizes)


def _blockwise_embedding(graph: Graph, table: NDArray[np.float32], ids: str, bits: int = 8) -> str:
    codes, scales = pack_blocks(table, bits)
    flat = codes.reshape(len(table), -1)[:, : -(-table.shape[1] * bits // 8)]
    terms = graph.weight("embedding", flat), ids, graph.weight("embedding.scales", scales)
    layout = {"bits": bits, "block_size": BLOCK_SIZE, "gather_axis": 0, "quantize_axis": 1}
    return graph.add("GatherBlockQuantized", *terms, outputs=("embedded",), **layout)


def _named(output: str) -> tuple[str, ...]:
    return (output,) if output else ()

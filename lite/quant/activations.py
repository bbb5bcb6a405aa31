"""How strongly each column of a model's matrices is driven by a text: the importance matrix of `lite quantize`.

The model's float32 graph runs over the text in chunks, with the sums of squares of every product's inputs as its only
outputs; the activations themselves never leave it.
"""

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lite.errors import BackendError, UsageError
from lite.models import require_memory
from lite.quant.gguf import GGUFFile
from lite.quant.imatrix import ImportanceMatrix
from lite.quant.onnx import open_graph
from lite.quant.packing import HeadLayout
from lite.quant.rotary import rotations
from lite.tokens import Tokenizer

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["measure"]

_CHUNK_TOKENS = 512  # as `llama-imatrix`: what is read as one text
_FEWEST_TOKENS = 64
_QUIET = 3  # log severity: errors only


def measure(file: GGUFFile, text: str, *, dataset: str, threads: int | None = None) -> ImportanceMatrix:
    """The mean squares of the inputs of every matrix, the head's included; `dataset` is the text's name.

    Special tokens in the text count: a rendered conversation is read as one.

    Raises UsageError for a text of fewer than 64 tokens, NotEnoughMemory, and BackendError where ONNX Runtime fails.
    """
    tokenizer = Tokenizer.from_gguf(file)
    ids = tokenizer.encode(text, special=True, start=True)
    if len(ids) < _FEWEST_TOKENS:
        raise UsageError(f"the calibration text has {len(ids)} tokens, fewer than {_FEWEST_TOKENS}: give a longer one")
    require_memory(file.config, 4 * sum(prod(info.shape) for info in file.tensors.values()), 1, _CHUNK_TOKENS)
    chunk = min(_CHUNK_TOKENS, file.config.context_length)
    chunks = _chunks(ids, chunk, [tokenizer.bos] if tokenizer.add_bos and tokenizer.bos is not None else [])
    session, tensors_of = _session(file, threads)
    totals = [np.zeros(()) for _ in tensors_of]
    for part in chunks:
        sums = _run(session, list(tensors_of), _inputs(file, part))
        totals = [total + squares.astype(np.float64) for total, squares in zip(totals, sums, strict=True)]
    num_tokens = sum(map(len, chunks))
    means = {
        name: _unpadded(file, name, (total / num_tokens).astype(np.float32))
        for names, total in zip(tensors_of.values(), totals, strict=True)
        for name in names
    }
    return ImportanceMatrix(means=means, num_tokens=num_tokens, chunk_tokens=chunk, dataset=dataset)


def _chunks(ids: list[int], size: int, first: list[int]) -> list[list[int]]:
    """Each begins as a text does: with BOS, where the model has it there."""
    rest, step = ids[len(first) :], size - len(first)
    return [first + rest[start : start + step] for start in range(0, len(rest), step)]


def _session(file: GGUFFile, threads: int | None) -> tuple[Any, dict[str, list[str]]]:
    """The measuring graph, and for each of its outputs the tensors whose inputs it sums."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0  # ONNX Runtime's own choice: the physical cores
    options.log_severity_level = _QUIET
    onnxruntime.disable_telemetry_events()
    with open_graph(file, "f32") as path:
        model = onnx.load(path, load_external_data=False)
        tensors_of = _measuring(model, file)
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session, tensors_of


def _measuring(model: "ModelProto", file: GGUFFile) -> dict[str, list[str]]:
    """Give the graph sums of squares for outputs, and take the head's product, the largest, away."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    products = [node for node in graph.node if node.op_type == "MatMul"]
    tensors_of: dict[str, list[str]] = {}
    for node in products:
        tensors_of.setdefault(node.input[0], []).extend(_tensors(file, node.input[1]))
    graph.node.remove(next(node for node in products if node.output[0] == "logits"))
    graph.initializer.append(numpy_helper.from_array(np.array([0]), "measured_axis"))
    del graph.output[:]
    for name in tensors_of:
        graph.node.append(helper.make_node("ReduceSumSquare", [name, "measured_axis"], [f"{name}.squares"], keepdims=0))
        graph.output.append(helper.make_tensor_value_info(f"{name}.squares", TensorProto.FLOAT, None))
    return {f"{name}.squares": names for name, names in tensors_of.items()}


def _tensors(file: GGUFFile, weight: str) -> list[str]:
    """GGUF's names of what one weight of the graph holds."""
    if weight.endswith("attn_qkv.weight"):
        return [weight.replace("qkv", part) for part in "qkv"]
    return ["token_embd.weight" if weight == "output.weight" and file.config.tied_embeddings else weight]


def _inputs(file: GGUFFile, ids: list[int]) -> dict[str, NDArray[Any]]:
    """One text without a past."""
    config, count = file.config, len(ids)
    padded = HeadLayout(config.head_dim, config.rope_interleaved).padded_dim
    names = ("cos_cache", "sin_cache")
    inputs: dict[str, NDArray[Any]] = dict(zip(names, rotations(config, count, padded), strict=True))
    if any(config.local_layers):
        local = rotations(config, count, padded, local=True)
        inputs |= {f"local_{name}": table for name, table in zip(names, local, strict=True)}
    nothing = np.empty((1, config.num_kv_heads, 0, padded), np.float32)
    inputs |= {f"past_{part}.{layer}": nothing for layer in range(config.num_layers) for part in ("key", "value")}
    return inputs | {
        "input_ids": np.array([ids], np.int64),
        "seqlens_k": np.array([count - 1], np.int32),
        "total_sequence_length": np.array(count, np.int32),
        "row_index": np.arange(count),
    }


def _run(session: Any, outputs: list[str], inputs: dict[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
    try:
        found: list[NDArray[np.float32]] = session.run(outputs, inputs)
    except Exception as error:  # noqa: BLE001  # ONNX Runtime's errors have no common class
        raise BackendError(f"measuring the activations failed: {' '.join(str(error).split())[:300]}") from None
    return found


def _unpadded(file: GGUFFile, name: str, means: NDArray[np.float32]) -> NDArray[np.float32]:
    """Without the columns that the graph's wider heads have more than the file's."""
    config = file.config
    if not name.endswith("attn_output.weight"):
        return means
    return means.reshape(config.num_heads, -1)[:, : config.head_dim].ravel()

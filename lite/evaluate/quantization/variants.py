"""What is measured: formats of one model, each made on the way in and opened on its engine."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from lite.errors import MissingExtra, UsageError
from lite.evaluate.parts import Parts, opened_parts
from lite.models import TensorSummary, describe
from lite.quant.gguf_formats import GGUF_FORMATS, gguf_format

if TYPE_CHECKING:
    from lite.quant.imatrix import ImportanceMatrix
    from lite.quant.onnx import Format

__all__ = ["Fallback", "Opened", "Variant", "Workshop", "default_formats", "engine_for_files", "variants_of"]

_ONNX_FORMATS: "Mapping[str, Format]" = MappingProxyType({"int8-row": "int8-row", "onnx-q8": "q8", "onnx-q4": "q4"})
_OPENVINO_FORMATS: "Mapping[str, Format]" = MappingProxyType(
    {"openvino-int8-row": "int8-row", "openvino-q8": "q8", "openvino-q4": "q4"}
)
"""Of each engine, our own names -> the engine's."""

_ENGINES = ("llama", "onnx", "openvino")  # they show their logits
_CALIBRATED = "+imatrix"
_COMMON = ("q8_0", "q6_k", "q4_k_m", "q4_0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One format as it was asked for."""

    name: str
    engine: str
    to: str = ""  # the GGUF format that the model is quantised to; "" for the model's own file
    file: Path | None = None  # a file that was quantised elsewhere
    format: str | None = None  # the engine's; None: the file's own
    calibrated: bool = False  # quantised with an importance matrix


@dataclass(frozen=True, slots=True)
class Fallback:
    """A tensor whose shape forbids the type that the format wants for it."""

    tensor: str
    wanted: str
    got: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A variant that is ready, and what its tensors are: told by the file, not by the format's name."""

    parts: Parts
    weights: tuple[TensorSummary, ...]  # most bytes first
    fallbacks: tuple[Fallback, ...] = ()


def default_formats() -> tuple[str, ...]:
    """Our own, and where llama.cpp can make them those that most people have."""
    return (*(_COMMON if find_spec("llama_cpp") else ()), *_ONNX_FORMATS)


def engine_for_files(backend: str) -> str:
    """The engine that computes with GGUF files: llama.cpp where it is installed. Raises UsageError."""
    if backend == "auto":
        return "llama" if find_spec("llama_cpp") else "onnx"
    if backend not in _ENGINES:
        raise UsageError(f"formats are not measured on {backend!r}: there is {', '.join(_ENGINES)}")
    return backend


def variants_of(names: Sequence[str], backend: str, *, has_imatrix: bool) -> list[Variant]:
    """Each different name once.

    Raises UsageError for one that is no format, or needs an importance matrix, and MissingExtra.
    """
    engine = engine_for_files(backend)
    return [_variant(name, engine, has_imatrix=has_imatrix) for name in dict.fromkeys(names)]


def _variant(name: str, engine: str, *, has_imatrix: bool) -> Variant:
    own = (
        None if engine == "llama" else "f32"
    )  # of a GGUF file's weights: only llama.cpp computes with them as they are
    for runtime, formats in (("onnx", _ONNX_FORMATS), ("openvino", _OPENVINO_FORMATS)):
        if name.lower() in formats:
            return Variant(name=name, engine=runtime, format=formats[name.lower()])
    if name.lower().endswith(".gguf"):
        return Variant(name=name, engine=engine, file=Path(name).expanduser(), format=own)
    bare, calibrated = name.lower().removesuffix(_CALIBRATED), name.lower().endswith(_CALIBRATED)
    found = gguf_format(bare)
    if found is None:
        known = ", ".join([*_ONNX_FORMATS, *_OPENVINO_FORMATS, *(one.lower() for one in GGUF_FORMATS)])
        raise UsageError(f"unknown format {name!r}: there is {known}, and GGUF files")
    if calibrated and not has_imatrix:
        raise UsageError(f"{name} needs texts to calibrate on: --imatrix FILE")
    if found.needs_imatrix and not calibrated:
        raise UsageError(f"{name} needs an importance matrix: ask for {bare}{_CALIBRATED}, with --imatrix FILE")
    if find_spec("llama_cpp") is None:
        raise MissingExtra(f"quantizing to {found.name}", "llama")
    return Variant(name=name, engine=engine, to=found.name, format=own, calibrated=calibrated)


class Workshop:
    """Makes the formats of a model in a folder of its own, and opens them."""

    def __init__(self, model: Path, folder: Path, imatrix: Path | None, settings: Mapping[str, int | None]) -> None:
        """`settings`: num_slots, context_length and threads of every engine."""
        self._model = model
        self._folder = folder
        self._imatrix = imatrix
        self._settings = settings
        self._importance: ImportanceMatrix | None = None  # measured once

    @contextmanager
    def reference(self, engine: str) -> Iterator[Parts]:
        """The model's own weights in float32."""
        model, weights = (self._float_file(), None) if engine == "llama" else (self._model, "f32")
        with opened_parts(model, engine, format=weights, **self._settings) as parts:
            yield parts

    @contextmanager
    def opened(self, variant: Variant) -> Iterator[Opened]:
        """The variant, for as long as the context lasts; what was made for it is deleted after."""
        if not variant.to:
            with self._opened(variant, variant.file or self._model) as opened:
                yield opened
            return
        target = self._folder / f"{variant.name}.gguf"
        try:
            fallbacks = self._quantized(variant, target)
            with self._opened(variant, target, fallbacks) as opened:
                yield opened
        finally:
            target.unlink(missing_ok=True)

    @contextmanager
    def _opened(self, variant: Variant, path: Path, fallbacks: tuple[Fallback, ...] = ()) -> Iterator[Opened]:
        with opened_parts(path, variant.engine, format=variant.format, **self._settings) as parts:
            yield Opened(parts=parts, weights=_weights(variant, path), fallbacks=fallbacks)

    def _quantized(self, variant: Variant, target: Path) -> tuple[Fallback, ...]:
        from lite.quant.quantize import quantize

        imatrix = self._measured() if variant.calibrated else None
        made = quantize(self._float_file(), target, to=variant.to, imatrix=imatrix, threads=self._settings["threads"])
        return tuple(Fallback(one.name, one.denied_type, one.type) for one in made.fallbacks)

    def _measured(self) -> "ImportanceMatrix":
        from lite.quant.gguf import open_gguf
        from lite.quant.quantize import load_imatrix

        if self._importance is None:
            assert self._imatrix is not None
            with open_gguf(self._model) as file:
                self._importance = load_imatrix(file, self._imatrix, threads=self._settings["threads"])
        return self._importance

    def _float_file(self) -> Path:
        """The model's weights as float32: what every format is made of, so that all start from the same numbers."""
        from lite.quant.quantize import quantize

        target = self._folder / "float32.gguf"
        if {summary.type for summary in _file_weights(self._model)} == {"F32"}:
            return self._model
        if not target.exists():
            quantize(self._model, target, to="F32", force=True, threads=self._settings["threads"])
        return target


def _weights(variant: Variant, path: Path) -> tuple[TensorSummary, ...]:
    if own := _ONNX_FORMATS.get(variant.name.lower()):
        return _graph_weights(path, own)
    if own := _OPENVINO_FORMATS.get(variant.name.lower()):
        return _packed_weights(path, own)
    return _file_weights(path)


def _file_weights(path: Path) -> tuple[TensorSummary, ...]:
    from lite.quant.gguf import open_gguf

    with open_gguf(path) as file:
        return describe(file).tensor_types


def _graph_weights(path: Path, weight_format: "Format") -> tuple[TensorSummary, ...]:
    """Of the graph that ONNX Runtime runs."""
    import onnx

    from lite.quant.gguf import open_gguf
    from lite.quant.onnx import open_graph

    with open_gguf(path) as file, open_graph(file, weight_format) as graph:
        model = onnx.load(graph, load_external_data=False)
    packed = {
        node.input[1]: next(attribute.i for attribute in node.attribute if attribute.name == "bits")
        for node in model.graph.node
        if node.op_type == "MatMulNBits"
    }
    found: dict[str, list[int]] = {}
    for one in model.graph.initializer:
        kind = onnx.helper.tensor_dtype_to_np_dtype(one.data_type)
        size = kind.itemsize
        for length in one.dims:
            size *= length
        name = f"INT{packed[one.name]} in blocks" if one.name in packed else str(kind).upper()
        found.setdefault(name, []).append(size)
    return _summaries(found)


def _packed_weights(path: Path, weight_format: "Format") -> tuple[TensorSummary, ...]:
    """Of the arrays that OpenVINO computes with."""
    from lite.quant.gguf import open_gguf
    from lite.quant.openvino import open_weights

    found: dict[str, list[int]] = {}
    with open_gguf(path) as file, open_weights(file, weight_format) as weights:
        for array in weights.values():
            in_blocks = array.dtype == "uint8"  # (out, blocks, bytes of 32 integers)
            name = f"INT{array.shape[-1] // 4} in blocks" if in_blocks else str(array.dtype).upper()
            found.setdefault(name, []).append(array.nbytes)
    return _summaries(found)


def _summaries(found: Mapping[str, Sequence[int]]) -> tuple[TensorSummary, ...]:
    """Of the sizes of tensors by type; most bytes first."""
    summaries = (TensorSummary(name, len(sizes), sum(sizes)) for name, sizes in found.items())
    return tuple(sorted(summaries, key=lambda summary: -summary.num_bytes))

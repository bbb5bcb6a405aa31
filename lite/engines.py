"""The engines as they are known before they are loaded; each is imported only inside a small function."""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lite.models import ModelConfig, ModelDescription

if TYPE_CHECKING:
    from lite.backends.base import Backend
    from lite.quant.gguf import GGUFFile
    from lite.quant.hf_folder import HFFolder

__all__ = ["ENGINES", "EngineEntry", "EngineSettings", "WeightFormat", "default_threads", "weights_bytes"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFormat:
    """How an engine keeps the weights in memory."""

    bits: float  # a weight of the layers, scales included
    head_bits: float  # likewise of embedding and head
    batch_invariant: bool  # a sample's bits are the same whatever is drawn beside it


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What a backend is opened with."""

    format: str
    num_slots: int
    context_length: int
    threads: int | None  # None: the engine's choice
    forbidden_ids: Collection[int]
    mesh: Mapping[str, int] | None = None  # how many devices rows and heads are split over; None: one device


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineEntry:
    """An engine as it is known before it is loaded."""

    module: str  # what it is built on
    extra: str  # the extra that installs it; "" for the core
    adapter: str  # our module over it, which sets up its environment before it is loaded
    formats: Mapping[str, WeightFormat]  # the default first; empty where the file decides
    open: "Callable[[GGUFFile, EngineSettings], Backend]"
    open_folder: "Callable[[HFFolder, EngineSettings], Backend] | None" = None  # None: it is converted to a file first
    format_of: Callable[[ModelDescription], tuple[str, WeightFormat]] | None = None  # the file's own
    package: str = ""  # the name under which the module is installed; "": the module's own
    takes_mesh: bool = False
    most_slots: int | None = None  # samples that it draws at once at most; None: as memory allows
    default_format: Callable[[], str] | None = None  # where it depends on the device; it loads the engine

    def formats_of(self, description: ModelDescription) -> Mapping[str, WeightFormat]:
        """Those that this model can be run in, the default first."""
        return self.formats if self.format_of is None else dict([self.format_of(description)])


def _open_onnx(file: "GGUFFile", settings: EngineSettings) -> "Backend":
    from typing import cast

    from lite.backends.cpu.onnx import OnnxBackend
    from lite.quant.onnx import Format

    return OnnxBackend(
        file,
        format=cast(Format, settings.format),
        num_slots=settings.num_slots,
        context_length=settings.context_length,
        threads=settings.threads,
        forbidden_ids=settings.forbidden_ids,
    )


def _open_llama(file: "GGUFFile", settings: EngineSettings) -> "Backend":
    from lite.backends.cpu.llama_cpp import LlamaBackend

    return LlamaBackend(
        file,
        num_slots=settings.num_slots,
        context_length=settings.context_length,
        threads=settings.threads,
        forbidden_ids=settings.forbidden_ids,
    )


def _open_openvino(file: "GGUFFile", settings: EngineSettings) -> "Backend":
    from typing import cast

    from lite.backends.cpu.openvino import OpenVinoBackend
    from lite.quant.openvino import Format

    return OpenVinoBackend(
        file,
        format=cast(Format, settings.format),
        num_slots=settings.num_slots,
        context_length=settings.context_length,
        threads=settings.threads,
        forbidden_ids=settings.forbidden_ids,
    )


def _open_jax(file: "GGUFFile | HFFolder", settings: EngineSettings) -> "Backend":
    from typing import cast

    from lite.backends.jax.backend import Format, JaxBackend
    from lite.backends.jax.mesh import Placement, mesh_of

    if settings.threads is not None:
        _log.info("the engine jax takes as many threads as it likes, not %d", settings.threads)
    return JaxBackend(
        file,
        format=cast(Format, settings.format),
        num_slots=settings.num_slots,
        context_length=settings.context_length,
        forbidden_ids=settings.forbidden_ids,
        placement=Placement(mesh_of(settings.mesh, file.config)) if settings.mesh else None,
    )


def _jax_format() -> str:
    from lite.backends.jax.backend import default_format

    return default_format()


def _format_of_file(description: ModelDescription) -> tuple[str, WeightFormat]:
    from lite.backends.cpu.llama_formats import file_format

    found = file_format({summary.type: summary.num_bytes for summary in description.tensor_types})
    bits = 8 * description.weights_bytes / description.num_parameters
    return found.name, WeightFormat(bits=bits, head_bits=bits, batch_invariant=found.batch_invariant)


ENGINES: dict[str, EngineEntry] = {
    "onnx": EngineEntry(
        module="onnxruntime",
        extra="",
        adapter="lite.backends.cpu.onnx",
        formats={
            "int8-row": WeightFormat(bits=8, head_bits=8, batch_invariant=True),
            "f32": WeightFormat(bits=32, head_bits=32, batch_invariant=True),
            "q8": WeightFormat(bits=9, head_bits=8, batch_invariant=True),
            "q4": WeightFormat(bits=5, head_bits=8, batch_invariant=True),
        },
        open=_open_onnx,
    ),
    "llama": EngineEntry(
        module="llama_cpp",
        extra="llama",
        adapter="lite.backends.cpu.llama_api",
        package="llama-cpp-python",
        formats={},
        open=_open_llama,
        format_of=_format_of_file,
        most_slots=255,  # llama.cpp's sequences, less the one that holds prompts
    ),
    "openvino": EngineEntry(
        module="openvino",
        extra="openvino",
        adapter="lite.backends.cpu.openvino",
        formats={
            "int8-row": WeightFormat(bits=8, head_bits=8, batch_invariant=True),
            "f32": WeightFormat(bits=32, head_bits=32, batch_invariant=True),
            "q8": WeightFormat(bits=9, head_bits=9, batch_invariant=True),
            "q4": WeightFormat(bits=5, head_bits=9, batch_invariant=True),
        },
        open=_open_openvino,
    ),
    "jax": EngineEntry(
        module="jax",
        extra="jax",
        adapter="lite.backends.jax.backend",
        formats={
            "f32": WeightFormat(bits=32, head_bits=32, batch_invariant=False),
            "bf16": WeightFormat(bits=16, head_bits=16, batch_invariant=False),
            "int8": WeightFormat(bits=8, head_bits=8, batch_invariant=False),
        },
        open=_open_jax,
        open_folder=_open_jax,
        takes_mesh=True,
        default_format=_jax_format,
    ),
}
"""By name; the first is what "auto" takes of a model that was not measured, see `measure_engines`."""


def default_threads() -> int:
    """How many threads a CPU engine takes when it is not told."""
    from lite.backends.cpu.cores import physical_cores

    return physical_cores()


def weights_bytes(config: ModelConfig, num_parameters: int, weight_format: WeightFormat) -> int:
    """What the weights take in memory, in bytes."""
    matrix = config.vocab_size * config.hidden_size
    layers = num_parameters - (matrix if config.tied_embeddings else 2 * matrix)
    return int(layers * weight_format.bits + 2 * matrix * weight_format.head_bits) // 8

"""Where engines are put together: the only module that imports backends, and engines only inside small functions."""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from os import PathLike
from typing import TYPE_CHECKING

from lite.backends.remote_config import OFFERED, RemoteConfig
from lite.errors import BackendError, LiteError, MissingExtra, UsageError
from lite.models import (
    ModelConfig,
    ModelDescription,
    available_memory,
    describe,
    memory_needed,
    require_memory,
    resolve,
)

if TYPE_CHECKING:
    from lite.backends.base import Backend
    from lite.quant.gguf import GGUFFile
    from lite.sampler import Sampler

__all__ = [
    "DEFAULT_CONTEXT",
    "ENGINES",
    "EngineEntry",
    "EngineSettings",
    "OpenedModel",
    "RemoteConfig",
    "WeightFormat",
    "default_threads",
    "open_remote",
    "open_sampler",
    "weights_bytes",
]

_log = logging.getLogger(__name__)

DEFAULT_CONTEXT = 4096  # tokens, where the model allows more: the cache of 16 branches grows with it


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


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineEntry:
    """An engine as it is known before it is loaded."""

    module: str  # what it is built on
    extra: str  # the extra that installs it; "" for the core
    adapter: str  # our module over it, which sets up its environment before it is loaded
    formats: Mapping[str, WeightFormat]  # the default first; empty where the file decides
    open: "Callable[[GGUFFile, EngineSettings], Backend]"
    format_of: Callable[[ModelDescription], tuple[str, WeightFormat]] | None = None  # the file's own

    def formats_of(self, description: ModelDescription) -> Mapping[str, WeightFormat]:
        """Those that this model can be run in, the default first."""
        return self.formats if self.format_of is None else dict([self.format_of(description)])


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedModel:
    """A sampler that is ready, and what it is."""

    sampler: "Sampler"
    name: str
    engine: str
    format: str


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
        formats={},
        open=_open_llama,
        format_of=_format_of_file,
    ),
}
"""By name; the first is what "auto" takes."""


def open_sampler(
    path: str | PathLike[str] | None,
    backend: str = "auto",
    *,
    format: str | None,  # noqa: A002  # what users call it
    num_slots: int,
    context_length: int | None,
    threads: int | None,
) -> OpenedModel:
    """Open a model on an engine; what cannot be is refused before anything large is loaded.

    `num_slots` is how many branches are drawn at once at most: fewer where memory is short, as long as the format is
    batch-invariant, so that it costs time only.

    Raises UsageError (an unknown engine or format, a context beyond the model's), NotEnoughMemory, MissingExtra,
    ModelError, BackendError, and ValueError for numbers below 1.
    """
    from lite.chat import ChatCodec
    from lite.engine import Engine
    from lite.quant.gguf import open_gguf

    for name, number in (("samples", num_slots), ("context", context_length), ("threads", threads)):
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    engine = next(iter(ENGINES)) if backend == "auto" else _known("engine", backend, ENGINES)
    entry = ENGINES[engine]
    with open_gguf(resolve(path)) as file:
        description = describe(file)
        formats = entry.formats_of(description)
        chosen = next(iter(formats)) if format is None else _known(f"format of {engine}", format, formats)
        context = _context(context_length, file.config)
        slots = _slots(num_slots, context, description, formats[chosen])
        codec = ChatCodec(file)
        settings = EngineSettings(
            format=chosen,
            num_slots=slots,
            context_length=context,
            threads=threads,
            forbidden_ids=codec.forbidden_ids,
        )
        opened = Engine(_open(engine, entry, file, settings), codec)
        return OpenedModel(sampler=opened, name=file.path.stem, engine=engine, format=chosen)


def open_remote(config: RemoteConfig) -> "Sampler":
    """A sampler over a remote server; nothing is sent before a strategy asks it.

    Offline, it is taken to be able to do all that a server may, and withholds every branch: so a strategy that would
    ask it goes on with what is local. Raises UsageError where the key cannot be had, and MissingExtra.
    """
    from dataclasses import replace

    from lite.backends.remote import RemoteSampler

    if config.offline and config.can is None:
        config = replace(config, can=OFFERED)
    return RemoteSampler(config)


def default_threads() -> int:
    """How many threads a CPU engine takes when it is not told."""
    from lite.backends.cpu.cores import physical_cores

    return physical_cores()


def weights_bytes(config: ModelConfig, num_parameters: int, weight_format: WeightFormat) -> int:
    """What the weights take in memory, in bytes."""
    matrix = config.vocab_size * config.hidden_size
    layers = num_parameters - (matrix if config.tied_embeddings else 2 * matrix)
    return int(layers * weight_format.bits + 2 * matrix * weight_format.head_bits) // 8


def _open(name: str, entry: EngineEntry, file: "GGUFFile", settings: EngineSettings) -> "Backend":
    try:
        return entry.open(file, settings)
    except LiteError:
        raise
    except ImportError as error:
        if entry.extra and error.name == entry.module:
            raise MissingExtra(f"the engine {name}", entry.extra) from error
        raise BackendError(f"the engine {name} cannot be loaded ({error}): see `lite doctor`") from error


def _slots(asked: int, context: int, description: ModelDescription, weight_format: WeightFormat) -> int:
    """The most slots that fit, up to those asked for. Raises NotEnoughMemory where there is no choice."""
    config = description.config
    size = weights_bytes(config, description.num_parameters, weight_format)
    available = available_memory()
    slots = asked
    if weight_format.batch_invariant and available is not None:
        fitting = (n for n in range(asked, 1, -1) if memory_needed(config, size, n, context) <= available)
        slots = next(fitting, 1)
    require_memory(config, size, slots, context, available)
    if slots < asked:
        _log.info("%d samples are drawn at once, not %d, as memory allows", slots, asked)
    return slots


def _context(asked: int | None, config: ModelConfig) -> int:
    if asked is None:
        return min(DEFAULT_CONTEXT, config.context_length)
    if asked > config.context_length:
        raise UsageError(f"a context of {asked} tokens exceeds the model's {config.context_length}: ask for less")
    return asked


def _known(what: str, name: str, known: Mapping[str, object]) -> str:
    if name in known:
        return name
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(known)}"
    raise UsageError(f"unknown {what} {name!r}: {hint}")

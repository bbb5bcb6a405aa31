"""Where models are opened: engine, format, tokenizer and memory are put together here, and nowhere else."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from lite.backends.remote_config import OFFERED, RemoteConfig
from lite.config import engine_figures_folder, prompt_folder
from lite.devices import parse_hosts, parse_mesh
from lite.engines import ENGINES, EngineEntry, EngineSettings, WeightFormat, default_threads, weights_bytes
from lite.errors import BackendError, LiteError, MissingExtra, UsageError
from lite.library import resolve, shown_name
from lite.models import (
    ModelConfig,
    ModelDescription,
    available_memory,
    describe,
    memory_needed,
    require_memory,
)

if TYPE_CHECKING:
    from lite.backends.base import Backend
    from lite.chat import ChatCodec
    from lite.engine_choice import Measured
    from lite.quant.gguf import GGUFFile
    from lite.quant.hf_folder import HFFolder
    from lite.quant.onnx_folder import OnnxFolder
    from lite.sampler import Sampler

__all__ = [
    "DEFAULT_CONTEXT",
    "OpenedModel",
    "RemoteConfig",
    "describe_model",
    "join_hosts",
    "measure_engines",
    "open_remote",
    "open_sampler",
    "warm_up",
]

_log = logging.getLogger(__name__)

_MOST_THREADS = 1024  # beyond any processor, and still started in no time
DEFAULT_CONTEXT = 4096  # tokens, where the model allows more: the cache of 16 branches grows with it


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedModel:
    """A sampler that is ready, and what it is."""

    sampler: "Sampler"
    name: str
    engine: str
    format: str
    batch_invariant: bool  # a sample's bits are the same whatever is drawn beside it
    num_slots: int  # samples that are drawn at once


_MEASURED = ("openvino", "llama", "onnx")  # the last needs no extra: where none opens a model, its error is told


def open_sampler(
    path: str | PathLike[str] | None,
    backend: str = "auto",
    *,
    format: str | None,  # noqa: A002  # what users call it
    num_slots: int,
    context_length: int | None,
    threads: int | None,
    prompt_cache: int | None = None,
    mesh: str = "",
) -> OpenedModel:
    """Open a model on an engine; what cannot be is refused before anything large is loaded.

    "auto" is the engine whose steps of `num_slots` branches are shortest by what `measure_engines` has kept of this
    model on this machine, and the first of ENGINES where it has nothing. `prompt_cache` is how many bytes of long
    prompts' keys and values are kept on the disk, of all models together. `mesh` ("data=4,model=2") splits rows and
    heads over devices, for an engine that can.

    `num_slots` is how many branches are drawn at once at most: fewer where memory is short, as long as the format is
    batch-invariant, so that it costs time only.

    Raises UsageError (an unknown engine or format, a context beyond the model's), NotEnoughMemory, MissingExtra,
    ModelError, BackendError, and ValueError for numbers below 1.
    """
    from lite.engine import Engine
    from lite.engine.prompts import saved_prompts
    from lite.quant.onnx_folder import is_onnx_folder

    numbers = {"samples": num_slots, "context": context_length, "threads": threads, "prompt_cache": prompt_cache}
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    if threads is not None and threads > _MOST_THREADS:
        raise UsageError(f"threads must be at most {_MOST_THREADS}, got {threads}")
    mesh_sizes = parse_mesh(mesh) if mesh else None
    located = resolve(path)
    if is_onnx_folder(located):
        if mesh:
            raise UsageError("an ONNX folder runs on one device, a mesh is for the engine jax and other files")
        with _loading("onnx", ENGINES["onnx"]):
            folder = _open_folder(located, backend, format, num_slots, context_length, threads)
            return replace(folder, name=shown_name(path, located))
    candidates = _candidates(backend, num_slots, mesh)
    with _opened(located, candidates) as file:
        engine = _automatic(file, candidates, format, num_slots)
        entry = ENGINES[engine]
        if mesh and not entry.takes_mesh:
            able = ", ".join(name for name, other in ENGINES.items() if other.takes_mesh)
            raise UsageError(f"the engine {engine} runs on one device, a mesh is for {able}: name it, or leave it out")
        description = describe(file)
        formats = entry.formats_of(description)
        chosen = _default_format(engine, entry, formats) if format is None else format
        chosen = _known(f"format of {engine}", chosen, formats)
        context = _context(context_length, file.config)
        slots = _slots(num_slots, context, description, formats[chosen])
        codec = _codec(file)
        settings = EngineSettings(
            format=chosen,
            num_slots=slots,
            context_length=context,
            threads=threads,
            forbidden_ids=codec.forbidden_ids,
            mesh=mesh_sizes,
        )
        ready = _open(engine, entry, file, settings)
        prompts = saved_prompts(ready, file.content_hash(), prompt_folder(), prompt_cache) if prompt_cache else None
        opened = Engine(ready, codec, prompts)
        return OpenedModel(
            sampler=opened,
            name=shown_name(path, located),
            engine=engine,
            format=chosen,
            batch_invariant=opened.backend.spec.batch_invariant,
            num_slots=opened.backend.spec.num_slots,
        )


def measure_engines(path: str | PathLike[str] | None, num_slots: int) -> "tuple[Measured, ...]":
    """Time the steps of the engines that "auto" chooses between, each in its default format, and keep the figures.

    One that does not open the model, or is not installed, is left out with a word. Raises what `open_sampler` does
    where none opens it, and OSError where the figures cannot be kept.
    """
    from lite.engine_choice import Measured, save_figures
    from lite.quant.gguf import open_gguf
    from lite.quant.onnx_folder import is_onnx_folder
    from lite.timings import measure, smaller

    if is_onnx_folder(resolve(path)):
        raise UsageError("an ONNX folder runs on the engine onnx alone: there is nothing to choose")
    measured: list[Measured] = []
    for name in _MEASURED:
        try:
            opened = open_sampler(path, name, format=None, num_slots=num_slots, context_length=None, threads=None)
        except LiteError as error:
            if name == _MEASURED[-1] and not measured:
                raise
            _log.warning("%s is left out: %s", name, error)
            continue
        with closing(opened.sampler) as sampler:
            timings = smaller(measure(sampler), measure(sampler))
        measured.append(Measured(engine=name, format=opened.format, timings=timings))
    with open_gguf(resolve(path)) as file:
        save_figures(measured, _figures(file))
    return tuple(measured)


def describe_model(path: Path) -> tuple[ModelDescription, Mapping[str, Mapping[str, WeightFormat]]]:
    """What is at a path, and by engine the formats in which it can be run, the default first. Raises ModelError."""
    from lite.quant.gguf import open_gguf
    from lite.quant.onnx_folder import is_onnx_folder, open_onnx_folder

    if is_onnx_folder(path):
        folder = open_onnx_folder(path)
        return describe(folder), {"onnx": _folder_formats(folder)}
    with open_gguf(path) as file:
        description = describe(file)
        return description, {name: entry.formats_of(description) for name, entry in ENGINES.items()}


def open_remote(config: RemoteConfig) -> "Sampler":
    """A sampler over a remote server; nothing is sent before a strategy asks it.

    Offline, it is taken to be able to do all that a server may, and withholds every branch: so a strategy that would
    ask it goes on with what is local. Raises UsageError where the key cannot be had, and MissingExtra.
    """
    from lite.backends.remote import RemoteSampler

    if config.offline and config.can is None:
        config = replace(config, can=OFFERED)
    return RemoteSampler(config)


def warm_up(
    path: str | PathLike[str] | None,
    *,
    format: str | None,  # noqa: A002  # what users call it
    num_slots: int,
    context_length: int | None,
    mesh: str,
    prompt_length: int,
    max_tokens: int,
) -> int:
    """Compile ahead what the engine jax needs for a prompt's samples, into the cache; returns how many programs.

    Raises what `open_sampler` does.
    """
    from typing import cast

    opened = open_sampler(
        path, "jax", format=format, num_slots=num_slots, context_length=context_length, threads=None, mesh=mesh
    )
    with closing(opened.sampler) as sampler:
        from lite.backends.jax.backend import JaxBackend
        from lite.engine import Engine

        engine = cast(Engine, sampler)
        backend = cast(JaxBackend, engine.backend)
        return backend.compile_ahead(engine.codec.end_ids, prompt_length=prompt_length, max_tokens=max_tokens)


def join_hosts(text: str) -> None:
    """Make this process one of several that share a mesh, before a model is opened: "0/2@host:port", or "auto".

    Raises UsageError, MissingExtra, and BackendError where they do not find each other within minutes.
    """
    hosts = parse_hosts(text)
    with _loading("jax", ENGINES["jax"]):
        from lite.backends.jax.hosts import join_hosts

        join_hosts(hosts)


def _open_folder(
    path: Path,
    backend: str,
    weight_format: str | None,
    num_slots: int,
    context_length: int | None,
    threads: int | None,
) -> OpenedModel:
    """A folder of ONNX files, which are its formats. No prompts of it are kept on the disk."""
    from lite.backends.cpu.onnx_folder import OnnxFolderBackend
    from lite.chat import ChatCodec
    from lite.engine import Engine
    from lite.quant.onnx_folder import open_onnx_folder

    if backend not in ("auto", "onnx"):
        raise UsageError(f"the engine {backend!r} runs no ONNX folders, only 'onnx' does: leave the engine out")
    folder = open_onnx_folder(path, weight_format)
    context = _context(context_length, folder.config)
    slots = _slots(num_slots, context, describe(folder), _folder_formats(folder)[folder.format])
    codec = ChatCodec(folder, folder.tokenizer)
    opened = OnnxFolderBackend(
        folder, num_slots=slots, context_length=context, threads=threads, forbidden_ids=codec.forbidden_ids
    )
    return OpenedModel(
        sampler=Engine(opened, codec),
        name=folder.name,
        engine="onnx",
        format=folder.format,
        batch_invariant=opened.spec.batch_invariant,
        num_slots=opened.spec.num_slots,
    )


def _folder_formats(folder: "OnnxFolder") -> Mapping[str, WeightFormat]:
    """By what the files take on the disk. Fused attention in floating point is known to keep a row's bits."""
    num_parameters = describe(folder).num_parameters
    exact = ("f32", "f16") if folder.signature.fused else ()
    sizes = {name: 8 * num_bytes / num_parameters for name, num_bytes in folder.formats.items()}
    return {
        name: WeightFormat(bits=bits, head_bits=bits, batch_invariant=name in exact) for name, bits in sizes.items()
    }


def _candidates(backend: str, num_branches: int, mesh: str) -> list[str]:
    """The engine that was named, or those that can serve the call. Raises UsageError for a name that is not known."""
    if backend != "auto":
        return [_known("engine", backend, ENGINES)]
    return [name for name, entry in ENGINES.items() if _serves(entry, num_branches, mesh)]


def _opened(path: Path, able: Sequence[str]) -> "AbstractContextManager[GGUFFile | HFFolder]":
    """The file; a Hugging Face folder as it lies if all that may open it read it so, else converted to a file."""
    from lite.quant.converted import is_hf_folder
    from lite.quant.gguf import open_gguf
    from lite.quant.hf_folder import open_hf_folder

    direct = all(ENGINES[name].open_folder is not None for name in able) and is_hf_folder(path)
    return open_hf_folder(path) if direct else open_gguf(path)


def _codec(file: "GGUFFile | HFFolder") -> "ChatCodec":
    from lite.chat import ChatCodec
    from lite.quant.hf_folder import HFFolder

    return ChatCodec(file, file.tokenizer if isinstance(file, HFFolder) else None)


def _automatic(file: "GGUFFile | HFFolder", able: Sequence[str], weight_format: str | None, num_branches: int) -> str:
    """Of the engines that can serve the call: the fastest of those that were measured, else the first."""
    from lite.engine_choice import fastest, load_figures

    default = able[0]
    if len(able) == 1 or not engine_figures_folder().is_dir():
        return default
    figures = load_figures(_figures(file))
    measured = [one for one in figures if one.engine in able and weight_format in (None, one.format)]
    chosen = fastest(measured, num_branches).engine if measured else default
    for one in measured:
        seconds = one.timings.of(num_branches)
        _log.info("%s %s: %.4f s a step of %d samples", one.engine, one.format, seconds, num_branches)
    return chosen


def _serves(entry: EngineEntry, num_branches: int, mesh: str) -> bool:
    enough = entry.most_slots is None or num_branches <= entry.most_slots
    return enough and (entry.takes_mesh or not mesh)


def _figures(file: "GGUFFile | HFFolder") -> Path:
    """Where a model's figures are on this machine."""
    from lite.engine_choice import figures_path

    packages = [ENGINES[name].package or ENGINES[name].module for name in _MEASURED]
    return figures_path(file.content_hash(), default_threads(), packages)


def _open(name: str, entry: EngineEntry, file: "GGUFFile | HFFolder", settings: EngineSettings) -> "Backend":
    from lite.quant.hf_folder import HFFolder

    with _loading(name, entry):
        if not isinstance(file, HFFolder):
            return entry.open(file, settings)
        assert entry.open_folder is not None  # or it would have been converted
        return entry.open_folder(file, settings)


def _default_format(name: str, entry: EngineEntry, formats: Mapping[str, WeightFormat]) -> str:
    if entry.default_format is None:
        return next(iter(formats))
    with _loading(name, entry):
        return entry.default_format()


@contextmanager
def _loading(name: str, entry: EngineEntry) -> Iterator[None]:
    """Say what is missing when an engine cannot be imported."""
    try:
        yield
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

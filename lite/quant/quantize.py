"""`lite quantize`: a model in fewer bits, and what each of its tensors really became."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from lite.errors import UsageError
from lite.models import TensorInfo
from lite.quant.converted import input_files, is_hf_folder
from lite.quant.drafts import draft_folder, refuse_inputs
from lite.quant.gguf import GGUFFile, open_gguf
from lite.quant.gguf_formats import GGUF_FORMATS, gguf_format, tensor_type
from lite.quant.gguf_quantize import FLOATS, Wishes, quantize_gguf

if TYPE_CHECKING:
    from lite.quant.imatrix import ImportanceMatrix

__all__ = ["FORMATS", "ONNX_FORMATS", "QuantizeResult", "QuantizedTensor", "load_imatrix", "quantize", "target_name"]

ONNX_FORMATS: Mapping[str, str] = MappingProxyType(
    {"onnx-f32": "f32", "int8-row": "int8-row", "onnx-q8": "q8", "onnx-q4": "q4"}
)
"""What `to` can be for an ONNX folder -> the format of its weights, as in `lite.quant.onnx.FORMATS`."""
FORMATS: tuple[str, ...] = (*GGUF_FORMATS, *ONNX_FORMATS)
"""What `to` can be: GGUF's in falling order of bits, then ONNX's."""
_NONE: Mapping[str, str] = MappingProxyType({})
_LARGEST_TEXT = 64 << 20  # bytes of a calibration text


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedTensor:
    """One tensor of the output, read from the file that was written."""

    name: str
    shape: tuple[int, ...]
    source_type: str  # of the input: "F32", "Q8_0", ...
    type: str  # GGUF's, or "int8-row", "q8", "q4" in an ONNX folder
    num_bytes: int  # scales included
    denied_type: str = ""  # what it would have been, had its rows suited that type; "" where nothing was denied


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeResult:
    """A written model."""

    path: Path  # a GGUF file, or the folder of an ONNX model
    format: str  # a name of `FORMATS`
    tensors: tuple[QuantizedTensor, ...]
    requantized: bool  # the input was quantised already: its errors are in the output too

    @property
    def num_bytes(self) -> int:
        """Of all tensors."""
        return sum(tensor.num_bytes for tensor in self.tensors)

    @property
    def fallbacks(self) -> tuple[QuantizedTensor, ...]:
        """Tensors that got another type than the one meant for them."""
        return tuple(tensor for tensor in self.tensors if tensor.denied_type)


def quantize(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    to: str,
    imatrix: "str | os.PathLike[str] | ImportanceMatrix | None" = None,
    pure: bool = False,
    tensors: Mapping[str, str] = _NONE,
    output_type: str | None = None,
    token_embedding_type: str | None = None,
    head_bits: int | None = None,
    threads: int | None = None,
    force: bool = False,
) -> QuantizeResult:
    """Write the model `source`, a GGUF file or a Hugging Face folder, to `target` in the format `to`.

    `to` is one of `FORMATS` in any case: "Q4_K_M" and its like make a GGUF file, "int8-row", "onnx-q8" and "onnx-q4" a
    folder with an ONNX model. `force`: replace a target that is there.

    For GGUF, which llama.cpp makes: `imatrix` is a text like those that the model will read, to measure on which
    columns matter, or a file of such measurements; `tensors` has a type for each regular expression that finds a
    tensor's name, the first one counts; `pure` is the format's own type for every matrix; `threads` are by default the
    physical cores. For onnx-q8 and onnx-q4: `head_bits` of embedding and head, 8 (the default) or 4.

    Raises UsageError for what cannot be, ModelError, MissingExtra (`llama`), NotEnoughMemory, and BackendError where
    llama.cpp fails. A target is whole or not there.
    """
    path, name = Path(target), _known(to)
    wishes = Wishes(
        pure=pure,
        tensors={pattern: tensor_type(kind) for pattern, kind in tensors.items()},
        output_type=None if output_type is None else tensor_type(output_type),
        token_embedding_type=None if token_embedding_type is None else tensor_type(token_embedding_type),
        threads=threads,
    )
    _check_options(name, wishes, imatrix is not None, head_bits)
    with open_gguf(source) as file:
        texts = [Path(imatrix)] if isinstance(imatrix, str | os.PathLike) else []
        refuse_inputs(path, [file.path, *(input_files(Path(source)) if is_hf_folder(source) else ()), *texts])
        types = {info.name: info.type for info in file.tensors.values()}
        if name in ONNX_FORMATS:
            found = _to_onnx(file, Path(source), path, name, head_bits or 8, force=force)
        else:
            if isinstance(imatrix, str | os.PathLike):
                imatrix = load_imatrix(file, imatrix, threads=threads)
            denied = quantize_gguf(file, path, GGUF_FORMATS[name], wishes, imatrix, force=force)
            found = _read_back(path, types, denied)
    return QuantizeResult(path=path, format=name, tensors=found, requantized=not FLOATS.issuperset(types.values()))


def load_imatrix(file: GGUFFile, path: str | os.PathLike[str], *, threads: int | None = None) -> "ImportanceMatrix":
    """From a file of measurements, or measured on a text. Raises UsageError, ModelError, NotEnoughMemory."""
    from lite.quant.activations import measure
    from lite.quant.imatrix import is_imatrix, read_imatrix

    source = Path(path)
    try:
        if is_imatrix(source):
            return read_imatrix(source)
        if source.stat().st_size > _LARGEST_TEXT:
            raise UsageError(f"the calibration text {source} exceeds {_LARGEST_TEXT >> 20} MiB: give a part of it")
        text = source.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {source}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{source} is no UTF-8 text: byte {error.start} is none") from None
    return measure(file, text, dataset=source.name, threads=threads)


def target_name(source: Path, to: str) -> str:
    """What a model is called in another format: m-F16.gguf, in Q4_K_M, is m-Q4_K_M.gguf; in onnx-q4, m-onnx-q4."""
    name = _known(to)
    whole = source.name.removesuffix(".gguf")
    stem, _, last = whole.rpartition("-")
    return f"{stem if stem and gguf_format(last) else whole}-{name}" + (".gguf" if name in GGUF_FORMATS else "")


def _known(to: str) -> str:
    """A name of FORMATS. Raises UsageError."""
    if found := gguf_format(to):
        return found.name
    if to.lower() in ONNX_FORMATS:
        return to.lower()
    near = get_close_matches(to.upper(), GGUF_FORMATS, n=1) or get_close_matches(to.lower(), ONNX_FORMATS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(FORMATS)}"
    raise UsageError(f"unknown format {to!r}: {hint}")


def _check_options(name: str, wishes: Wishes, has_imatrix: bool, head_bits: int | None) -> None:
    """Refuse what the format would ignore."""
    of_gguf = has_imatrix or wishes.pure or wishes.tensors or wishes.output_type or wishes.token_embedding_type
    if name in ONNX_FORMATS and of_gguf:
        raise UsageError(f"an importance matrix and types of single tensors are for GGUF formats, not for {name}")
    if head_bits is not None and name not in ("onnx-q8", "onnx-q4"):
        raise UsageError(f"the bits of the head can be chosen for onnx-q8 and onnx-q4, not for {name}")
    if head_bits not in (None, 4, 8):
        raise UsageError(f"a head has 4 or 8 bits, not {head_bits}")


def _read_back(path: Path, source_types: Mapping[str, str], denied: Mapping[str, str]) -> tuple[QuantizedTensor, ...]:
    with open_gguf(path) as file:
        return tuple(
            QuantizedTensor(
                name=info.name,
                shape=info.shape,
                source_type=source_types[info.name],
                type=info.type,
                num_bytes=info.num_bytes,
                denied_type=denied.get(info.name, ""),
            )
            for info in file.tensors.values()
        )


def _source(file: GGUFFile, name: str) -> TensorInfo:
    """What a weight of a graph was made of: the first of three, or what a head is tied to."""
    tied = name == "output.weight" and file.config.tied_embeddings
    return file.tensors["token_embd.weight" if tied else name.replace("attn_qkv", "attn_q")]


def _to_onnx(
    file: GGUFFile, source: Path, target: Path, name: str, head_bits: int, *, force: bool
) -> tuple[QuantizedTensor, ...]:
    from lite.quant.onnx_export import GRAPH_NAME, stored_tensors, write_onnx_folder

    weight_format = ONNX_FORMATS[name]
    bits = {"f32": 32, "int8-row": 9, "q8": 10, "q4": 6}[weight_format]  # of a weight, about
    num_bytes = sum(prod(info.shape) for info in file.tensors.values()) * bits // 8
    original = source if is_hf_folder(source) else None
    refuse_inputs(target, [source, *Path(os.path.realpath(source)).parents])  # a folder is replaced with all it holds
    with draft_folder(target, force=force, num_bytes=num_bytes, mark=GRAPH_NAME) as draft:
        write_onnx_folder(draft, file, weight_format, head_bits=head_bits, original=original)
    return tuple(
        QuantizedTensor(
            name=info.name,
            shape=info.shape,
            source_type=_source(file, info.name).type,
            type=info.type,
            num_bytes=info.num_bytes,
        )
        for info in stored_tensors(target)
    )

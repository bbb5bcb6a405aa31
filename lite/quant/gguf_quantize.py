"""GGUF files in fewer bits, by llama.cpp: what is asked is checked here, and done in a process of its own."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

from lite.errors import BackendError, MissingExtra, ModelError, UsageError
from lite.models import TensorInfo
from lite.quant.drafts import draft_file
from lite.quant.gguf import GGUFFile, open_gguf
from lite.quant.gguf_formats import TYPE_NUMBERS, GGUFFormat, bits_of, block_of
from lite.quant.imatrix import ImportanceMatrix, write_imatrix

__all__ = ["FLOATS", "Wishes", "quantize_gguf"]

FLOATS = frozenset({"F32", "F16", "BF16"})
_WORKER = "lite.backends.cpu.llama_quantize"  # run, not imported: engines stand beside this package
_DEMANDING = frozenset({"IQ1_S", "IQ2_XXS", "IQ2_XS"})  # without an importance matrix llama.cpp ends the process
_POOR = _DEMANDING | {"IQ1_M", "IQ2_S", "IQ3_XXS"}  # without one it refuses them
_EMBEDDING, _HEAD = "token_embd.weight", "output.weight"
_HEAD_BITS = 8.5  # the most that llama.cpp gives to embedding and head by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What is asked of llama.cpp beyond the format; types in GGUF's spelling."""

    pure: bool
    tensors: Mapping[str, str]  # a type for each pattern; the first that matches a name counts
    output_type: str | None
    token_embedding_type: str | None
    threads: int | None


def quantize_gguf(
    file: GGUFFile,
    target: Path,
    wanted: GGUFFormat,
    wishes: Wishes,
    imatrix: ImportanceMatrix | None,
    *,
    force: bool,
) -> dict[str, str]:
    """Write `target`; returns the type that was denied, by tensors whose rows do not suit it.

    Raises UsageError for what cannot be, before anything is written, MissingExtra, and BackendError where llama.cpp
    fails.
    """
    overrides = _overrides(file, wanted, wishes.tensors)
    _check_rows(file, wishes)
    _check_imatrix(file, wanted, wishes, overrides, imatrix)
    if find_spec("llama_cpp") is None:
        raise MissingExtra(f"quantizing to {wanted.name}", "llama")
    with (
        draft_file(target, force=force, num_bytes=_about(file, wanted)) as draft,
        tempfile.TemporaryDirectory(prefix="lite-") as folder,
    ):
        measured = None
        if imatrix is not None:
            measured = str(Path(folder) / "imatrix.gguf")
            write_imatrix(Path(measured), imatrix)
        outcome = _ordered(
            {
                "source": os.path.abspath(file.path),
                "target": os.path.abspath(draft),
                "format": wanted.number,
                "pure": wishes.pure,
                "tensors": {name: TYPE_NUMBERS[kind] for name, kind in overrides.items()},
                "output_type": _number(wishes.output_type),
                "token_embedding_type": _number(wishes.token_embedding_type),
                "imatrix": measured,
                "threads": wishes.threads,
            }
        )
        _check_written(draft, target)
    denied: dict[str, str] = outcome["denied"]
    return _odd_head(file, wanted, wishes, overrides) | denied


def _odd_head(file: GGUFFile, wanted: GGUFFormat, wishes: Wishes, overrides: Mapping[str, str]) -> dict[str, str]:
    """The head whose rows do not suit the format, which llama.cpp makes Q8_0 without a word."""
    name = _EMBEDDING if file.config.tied_embeddings else _HEAD
    told = (
        wishes.pure or wishes.output_type or (wishes.token_embedding_type and name == _EMBEDDING) or name in overrides
    )
    odd = file.config.hidden_size % block_of(wanted.base) != 0
    return {name: wanted.base} if odd and not told else {}


def _ordered(order: dict[str, Any]) -> dict[str, Any]:
    """What the process answers. Raises BackendError where it fails, or dies."""
    done = subprocess.run(
        [sys.executable, "-m", _WORKER],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        check=False,
    )
    last = done.stdout.strip().splitlines()[-1:] or [""]
    if done.returncode:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        said = " ".join((done.stderr.strip().splitlines() or ["it does not say why"])[-1].split())[:300]
        raise BackendError(f"llama.cpp ended while it quantized ({how}): {said}; try another format")
    outcome: dict[str, Any] = json.loads(last[0])
    if outcome["failure"]:
        raise BackendError(f"llama.cpp did not quantize: {' '.join(outcome['failure'].split())[:300]}")
    return outcome


def _overrides(file: GGUFFile, wanted: GGUFFormat, tensors: Mapping[str, str]) -> dict[str, str]:
    """A type for each tensor that a pattern matches."""
    if tensors and wanted.is_float:
        raise UsageError(f"types of single tensors go with the quantized formats only, not with {wanted.name}")
    chosen: dict[str, str] = {}
    for pattern, kind in tensors.items():
        try:
            found = [name for name, info in file.tensors.items() if _is_matrix(info) and re.search(pattern, name)]
        except re.error as error:
            raise UsageError(f"{pattern!r} is no regular expression: {error}") from None
        if not found:
            raise UsageError(f"{pattern!r} matches no matrix of this model: `lite show --json` and GGUF's names help")
        chosen = dict.fromkeys(found, kind) | chosen
    return chosen


def _check_rows(file: GGUFFile, wishes: Wishes) -> None:
    """llama.cpp does not fall back where these two do not suit, it ends."""
    columns = file.config.hidden_size
    for option, kind in (
        ("--output-type", wishes.output_type),
        ("--token-embedding-type", wishes.token_embedding_type),
    ):
        if kind is not None and columns % block_of(kind):
            raise UsageError(f"{option} {kind} needs rows of a multiple of {block_of(kind)}, here they have {columns}")


def _check_imatrix(
    file: GGUFFile,
    wanted: GGUFFormat,
    wishes: Wishes,
    overrides: Mapping[str, str],
    imatrix: ImportanceMatrix | None,
) -> None:
    """Types that are no good without an importance matrix, and the matrices that one lacks."""
    if imatrix is None:
        kinds = {kind for kind in (*overrides.values(), wishes.output_type, wishes.token_embedding_type) if kind}
        asked = [wanted.name] if wanted.needs_imatrix else sorted(kinds & _POOR)
        if asked:
            raise UsageError(
                f"{asked[0]} needs an importance matrix: add --imatrix with a text like those it will read"
            )
        return
    for name in (_EMBEDDING, _HEAD):
        own = wishes.token_embedding_type if name == _EMBEDDING else wishes.output_type
        kind = own or overrides.get(name) or (wanted.base if wishes.pure else "")
        if kind in _DEMANDING and name in file.tensors and name not in imatrix.means:
            raise UsageError(f"{name} cannot be {kind}: it was not measured; give it another type with --tensor")
    for name, means in imatrix.means.items():
        if (info := file.tensors.get(name)) and info.shape[-1] != len(means):
            raise UsageError(
                f"the importance matrix is of another model: {name} has {info.shape[-1]} columns, not {len(means)}"
            )
    if not imatrix.means.keys() & file.tensors.keys():
        raise UsageError("the importance matrix is of another model: it knows none of this model's matrices")


def _check_written(draft: Path, target: Path) -> None:
    """Read it back, so that a damaged file never gets the name."""
    try:
        open_gguf(draft).close()
    except ModelError as error:
        raise BackendError(f"llama.cpp wrote a damaged file for {target}: {error}") from None


def _about(file: GGUFFile, wanted: GGUFFormat) -> int:
    """Bytes of the result, to tell whether there is room: mixes and fallbacks move it by some tenths."""
    bits = bits_of(wanted.base)
    sizes = (
        prod(info.shape) * (max(bits, _HEAD_BITS) if name in (_EMBEDDING, _HEAD) else bits) if _is_matrix(info) else 0
        for name, info in file.tensors.items()
    )
    rest = sum(info.num_bytes for info in file.tensors.values() if not _is_matrix(info))
    return int(sum(sizes)) // 8 + rest


def _is_matrix(info: TensorInfo) -> bool:
    return len(info.shape) == 2


def _number(kind: str | None) -> int | None:
    return None if kind is None else TYPE_NUMBERS[kind]

"""How llama.cpp computes with the types of weights that a GGUF file holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["FileFormat", "file_format"]

_EXACT = {"Q8_0", "Q4_0"}  # products that give a row the same bits whatever its companions


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFormat:
    """A name for the file's weights, and what suits them.

    Flash attention adds up a row's values position by position, as long as keys and values are of different types: for
    equal types it has further ways, for 64 rows and more, and for a single row beside 512 cells and more, and each of
    them has bits of its own. Hence bfloat16 keys where the weights keep the promise of equal bits; values in it would
    be as near to float32 and cost an eighth of the speed (bench/llama_cache.py). It computes in float16 at most, so
    float32 does without it.
    """

    name: str  # the type with most bytes, in GGUF's own word, or "f32"
    keys: Literal["F32", "F16", "BF16"]
    values: Literal["F32", "F16"]
    flash_attention: bool
    batch_invariant: bool  # a sample's bits are the same whatever is drawn beside it


def file_format(num_bytes: Mapping[str, int]) -> FileFormat:
    """Of a file with so many bytes of each type of tensor. Norms are float32 in every file."""
    name = max(num_bytes, key=lambda kind: num_bytes[kind])
    if name == "F32":
        return FileFormat(name="f32", keys="F32", values="F32", flash_attention=False, batch_invariant=False)
    exact = set(num_bytes) - {"F32"} <= _EXACT
    return FileFormat(
        name=name,
        keys="BF16" if exact else "F16",
        values="F16",
        flash_attention=True,
        batch_invariant=exact,
    )

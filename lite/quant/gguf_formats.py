"""The formats that a GGUF file can be quantised to: llama.cpp's names, its numbers, and what each asks for.

Most are mixes: `base` is what most matrices get, and llama.cpp gives more bits to those that matter most
(`llama-quant.cpp`, `llama_tensor_get_type_impl`). What a tensor got is read from the file, never from these names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lite.errors import UsageError
from lite.quant.gguf_header import TENSOR_TYPES

__all__ = ["GGUF_FORMATS", "TYPE_NUMBERS", "GGUFFormat", "bits_of", "block_of", "gguf_format", "tensor_type"]


@dataclass(frozen=True, slots=True)
class GGUFFormat:
    """One of `llama_ftype`, as of llama-cpp-python 0.3.36."""

    name: str
    number: int  # llama.cpp's own
    base: str  # the type of most matrices
    needs_imatrix: bool = False

    @property
    def is_float(self) -> bool:
        return self.base in ("F32", "F16", "BF16")


_FORMATS = (
    GGUFFormat("F32", 0, "F32"),
    GGUFFormat("F16", 1, "F16"),
    GGUFFormat("BF16", 32, "BF16"),
    GGUFFormat("Q8_0", 7, "Q8_0"),
    GGUFFormat("Q6_K", 18, "Q6_K"),
    GGUFFormat("Q5_1", 9, "Q5_1"),
    GGUFFormat("Q5_0", 8, "Q5_0"),
    GGUFFormat("Q5_K_M", 17, "Q5_K"),
    GGUFFormat("Q5_K_S", 16, "Q5_K"),
    GGUFFormat("Q4_1", 3, "Q4_1"),
    GGUFFormat("Q4_0", 2, "Q4_0"),
    GGUFFormat("Q4_K_M", 15, "Q4_K"),
    GGUFFormat("Q4_K_S", 14, "Q4_K"),
    GGUFFormat("IQ4_NL", 25, "IQ4_NL"),
    GGUFFormat("IQ4_XS", 30, "IQ4_XS"),
    GGUFFormat("Q3_K_L", 13, "Q3_K"),
    GGUFFormat("Q3_K_M", 12, "Q3_K"),
    GGUFFormat("Q3_K_S", 11, "Q3_K"),
    GGUFFormat("IQ3_M", 27, "IQ3_S"),
    GGUFFormat("IQ3_S", 26, "IQ3_S"),
    GGUFFormat("IQ3_XS", 22, "IQ3_S", needs_imatrix=True),
    GGUFFormat("IQ3_XXS", 23, "IQ3_XXS", needs_imatrix=True),
    GGUFFormat("Q2_K", 10, "Q2_K"),
    GGUFFormat("Q2_K_S", 21, "Q2_K", needs_imatrix=True),
    GGUFFormat("IQ2_M", 29, "IQ2_S", needs_imatrix=True),
    GGUFFormat("IQ2_S", 28, "IQ2_XS", needs_imatrix=True),
    GGUFFormat("IQ2_XS", 20, "IQ2_XS", needs_imatrix=True),
    GGUFFormat("IQ2_XXS", 19, "IQ2_XXS", needs_imatrix=True),
    GGUFFormat("TQ2_0", 37, "TQ2_0"),
    GGUFFormat("TQ1_0", 36, "TQ1_0"),
    GGUFFormat("IQ1_M", 31, "IQ1_M", needs_imatrix=True),
    GGUFFormat("IQ1_S", 24, "IQ1_S", needs_imatrix=True),
)
_ALIASES = {"Q5_K": "Q5_K_M", "Q4_K": "Q4_K_M", "Q3_K": "Q3_K_M"}

GGUF_FORMATS: Mapping[str, GGUFFormat] = MappingProxyType({entry.name: entry for entry in _FORMATS})
"""By name, in falling order of bits."""

TYPE_NUMBERS: Mapping[str, int] = MappingProxyType({name: number for number, (name, _, _) in TENSOR_TYPES.items()})
"""ggml's numbers of the types that one tensor can have."""

_BLOCKS = {name: (values, num_bytes) for name, values, num_bytes in TENSOR_TYPES.values()}
_UNWRITTEN = {"MXFP4", "NVFP4"}  # types that are read, but that nothing here makes of a dense model


def gguf_format(name: str) -> GGUFFormat | None:
    """In any case, with llama.cpp's aliases; None for a name that is not one of these."""
    upper = name.upper()
    return GGUF_FORMATS.get(_ALIASES.get(upper, upper))


def tensor_type(name: str) -> str:
    """A tensor's type in GGUF's own spelling. Raises UsageError."""
    upper = name.upper()
    if upper in _BLOCKS and upper not in _UNWRITTEN:
        return upper
    known = ", ".join(kind for kind in _BLOCKS if kind not in _UNWRITTEN)
    raise UsageError(f"unknown type of tensors {name!r}: there is {known}")


def block_of(kind: str) -> int:
    """How many neighbours of a row share a scale: rows must be a multiple of it."""
    return _BLOCKS[kind][0]


def bits_of(kind: str) -> float:
    """Of one weight, scales included."""
    values, num_bytes = _BLOCKS[kind]
    return 8 * num_bytes / values

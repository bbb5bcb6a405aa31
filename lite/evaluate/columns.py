"""Columns of numbers as short text that reads back bit for bit.

A column is base64 of little-endian IEEE numbers behind its type: `f4:` where every value is a float32 (what engines
report), `f8:` where one is not. JSON's own decimal digits would take twice the room and lose the infinities.
"""

import base64
import struct
from collections.abc import Sequence

__all__ = ["pack_floats", "unpack_floats"]

_KINDS = {"f4": ("f", 4), "f8": ("d", 8)}


def pack_floats(values: Sequence[float]) -> str:
    """The text of a column; "" for none."""
    if not values:
        return ""
    wide = struct.pack(f"<{len(values)}d", *values)
    try:
        narrow = struct.pack(f"<{len(values)}f", *values)
    except OverflowError:
        return f"f8:{_text(wide)}"
    exact = struct.pack(f"<{len(values)}d", *struct.unpack(f"<{len(values)}f", narrow)) == wide
    return f"f4:{_text(narrow)}" if exact else f"f8:{_text(wide)}"


def unpack_floats(text: str) -> tuple[float, ...]:
    """What `pack_floats` was given. Raises ValueError for anything else."""
    if not text:
        return ()
    kind, _, data = text.partition(":")
    if kind not in _KINDS:
        raise ValueError(f"a column begins with f4: or f8:, got {text[:8]!r}")
    code, size = _KINDS[kind]
    try:
        raw = base64.b64decode(data, validate=True)
        return struct.unpack(f"<{len(raw) // size}{code}", raw)
    except (ValueError, struct.error) as error:
        raise ValueError(f"a column is damaged: {error}") from error


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")

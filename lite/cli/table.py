"""Plain tables for a terminal."""

from collections.abc import Iterable, Sequence
from unicodedata import category, east_asian_width

__all__ = ["clip", "human_bytes", "table"]


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: frozenset[int] = frozenset()) -> str:
    """Columns separated by two spaces; those numbered in `right` are flush right."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(_pad(cell, widths[column], column in right) for column, cell in enumerate(line)).rstrip()
        for line in lines
    )


def clip(text: str, width: int) -> str:
    """One line of at most `width` columns, for people."""
    line = " ".join("".join(" " if category(char) == "Cc" else char for char in text).split())
    if _width(line) <= width:
        return line
    while line and _width(line) > width - 3:
        line = line[:-1]
    return line + "..."


def human_bytes(count: int) -> str:
    """`count` in the largest unit that leaves at least 1: 1536 -> 1.5 KiB."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _pad(cell: str, width: int, right: bool) -> str:
    space = " " * (width - _width(cell))
    return space + cell if right else cell + space


def _width(text: str) -> int:
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)

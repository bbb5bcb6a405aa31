"""What the strategies' settings share: a line of help for each field, and the check of the number of samples."""

from dataclasses import field
from typing import TypeVar

__all__ = ["check_samples", "setting"]

_MOST_SAMPLES = 100_000

Value = TypeVar("Value")


def setting(default: Value, doc: str) -> Value:
    """A dataclass field with the line that `lite strategies NAME` shows for it."""
    described: Value = field(default=default, metadata={"doc": doc})
    return described


def check_samples(samples: int) -> None:
    """Raises ValueError for fewer than one, and for more than anybody could wait for."""
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if samples > _MOST_SAMPLES:
        raise ValueError(f"samples must be at most {_MOST_SAMPLES:,}, got {samples}")

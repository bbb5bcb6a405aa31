"""Files shipped inside the package: the embedded language model."""

from __future__ import annotations

from pathlib import Path

__all__ = ["embedded_model_path"]


def embedded_model_path() -> Path:
    """Where the embedded model's GGUF file lies."""
    return Path(__file__).with_name("lite-math.gguf")

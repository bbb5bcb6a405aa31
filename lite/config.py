"""Where `lite` keeps files: the platform's cache folder and nothing else. Nothing here creates a folder."""

import os
from pathlib import Path

import platformdirs

from lite.assets import embedded_model_path

__all__ = ["cache_folder", "embedded_model", "graph_folder", "model_folders"]


def cache_folder() -> Path:
    """What may be deleted at any time: `$LITE_CACHE_DIR`, or the platform's own cache folder."""
    chosen = os.environ.get("LITE_CACHE_DIR")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("lite", appauthor=False)


def graph_folder() -> Path:
    """Graphs built from model files, keyed by content."""
    return cache_folder() / "graphs"


def model_folders() -> tuple[Path, ...]:
    """Where a bare model name is looked for: the folders of `$LITE_MODELS_DIR`, or one in the cache folder."""
    chosen = os.environ.get("LITE_MODELS_DIR", "")
    folders = tuple(Path(part).expanduser() for part in chosen.split(os.pathsep) if part)
    return folders or (cache_folder() / "models",)


def embedded_model() -> Path:
    """The small model inside the package, which `lite run` uses when none is named."""
    return embedded_model_path()

"""Where `lite` keeps files: the platform's cache folder; and where it looks for the user's settings.

Nothing here creates a folder.
"""

import os
from pathlib import Path

import platformdirs

__all__ = [
    "cache_folder",
    "config_file",
    "converted_folder",
    "embedded_model",
    "engine_figures_folder",
    "graph_folder",
    "model_folders",
    "prompt_folder",
]


def cache_folder() -> Path:
    """What may be deleted at any time: `$LITE_CACHE_DIR`, or the platform's own cache folder."""
    chosen = os.environ.get("LITE_CACHE_DIR")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("lite", appauthor=False)


def config_file() -> Path:
    """The command line's settings: in `$LITE_CONFIG_DIR`, or the platform's own folder. It need not be there."""
    chosen = os.environ.get("LITE_CONFIG_DIR")
    folder = Path(chosen).expanduser() if chosen else platformdirs.user_config_path("lite", appauthor=False)
    return folder / "config.toml"


def converted_folder() -> Path:
    """GGUF files made of Hugging Face folders, keyed by content."""
    return cache_folder() / "converted"


def graph_folder() -> Path:
    """Graphs built from model files, keyed by content."""
    return cache_folder() / "graphs"


def prompt_folder() -> Path:
    """Keys and values of long prompts, where that was asked for."""
    return cache_folder() / "prompts"


def engine_figures_folder() -> Path:
    """How long each engine's steps take, of the models that were measured."""
    return cache_folder() / "engines"


def model_folders() -> tuple[Path, ...]:
    """Where a bare model name is looked for: the folders of `$LITE_MODELS_DIR`, or one in the cache folder."""
    chosen = os.environ.get("LITE_MODELS_DIR", "")
    folders = tuple(Path(part).expanduser() for part in chosen.split(os.pathsep) if part)
    return folders or (cache_folder() / "models",)


def embedded_model() -> Path:
    """The small model inside the package, which `lite run` uses when none is named."""
    return Path(__file__).parent / "assets" / "lite-math.gguf"

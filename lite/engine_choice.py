"""Which engine draws so many branches fastest on this machine: measured when asked for, and kept in the cache folder.

A file of figures is named by the model's content, the processor, the number of cores and the engines' versions: on
another machine, or after an update, there are none, and the default engine is taken. Delete the folder to forget.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from lite.config import engine_figures_folder
from lite.machine import processor
from lite.timings import Timings

__all__ = ["Measured", "fastest", "figures_path", "load_figures", "save_figures"]

_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How long an engine's steps take with a model in one format."""

    engine: str
    format: str
    timings: Timings


def fastest(measured: Sequence[Measured], num_branches: int) -> Measured:
    """The one whose step of so many branches is shortest; of equals the first."""
    return min(measured, key=lambda one: one.timings.of(num_branches))


def figures_path(content_hash: str, cores: int, packages: Sequence[str]) -> Path:
    """The file of a model's figures, which depend on the processor and on the versions of these packages too."""
    machine = " | ".join([processor()[0], str(cores), *map(_version, packages)])
    return engine_figures_folder() / f"{content_hash}-{hashlib.sha256(machine.encode()).hexdigest()[:12]}.json"


def load_figures(path: Path) -> tuple[Measured, ...]:
    """Empty where there are none, or what is there cannot be read."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        plain = json.loads(path.read_text("utf-8"))
        if plain["lite_engines"] == _VERSION:
            return tuple(
                Measured(
                    engine=str(one["engine"]),
                    format=str(one["format"]),
                    timings=Timings({int(size): float(value) for size, value in one["seconds"].items()}),
                )
                for one in plain["measured"]
            )
    return ()


def save_figures(measured: Sequence[Measured], path: Path) -> None:
    """Write them whole or not at all. Raises OSError where that cannot be."""
    plain: dict[str, object] = {
        "lite_engines": _VERSION,
        "measured": [
            {
                "engine": one.engine,
                "format": one.format,
                "seconds": {str(size): value for size, value in one.timings.seconds.items()},
            }
            for one in measured
        ],
    }
    beside = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside.write_text(json.dumps(plain, indent=1) + "\n", "utf-8")
    beside.replace(path)


def _version(package: str) -> str:
    """ "" for one that is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""

"""A router's file, as `lite calibrate` writes it, read for `lite run --router`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

if TYPE_CHECKING:
    from lite.options import Options

__all__ = ["read_router"]


def read_router(path: Path, options: "Options") -> "tuple[str, Options, str]":
    """The strategy's name, its options, and the model's name. What is in `options` wins over the file.

    Raises UsageError for what is no such file.
    """
    from lite.calibrate import load
    from lite.options import check_names, make_strategy

    try:
        made = load(path)
        kept = cast("Options", dict(made.options))
        check_names(kept)
        settings = {"measure": made.measure, "threshold": repr(made.threshold)}
        kept["settings"] = {**_plain(kept.get("settings", {})), **settings}
        make_strategy(made.strategy, kept)  # so that it is the file that is named
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from error
    except (TypeError, ValueError) as error:
        message = str(error)
        raise click.UsageError(message if message.startswith(str(path)) else f"{path}: {message}") from error
    merged: dict[str, Any] = {**kept, **options}
    merged["settings"] = {**kept["settings"], **options.get("settings", {})}
    return made.strategy, cast("Options", merged), made.model


def _plain(settings: Any) -> dict[str, object]:
    if not isinstance(settings, dict):
        raise ValueError(f"settings must be an object, got {settings!r}")
    return settings

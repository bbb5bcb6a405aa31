"""Options that every verb has."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import click

__all__ = ["common_options", "json_option", "set_log_level"]

Function = TypeVar("Function", bound=Callable[..., Any])


def common_options(function: Function) -> Function:
    """`-v/--verbose` (what happens, on stderr) and `--debug` (a traceback instead of one line)."""
    debug = click.option("--debug", is_flag=True, expose_value=False, help="On failure print the whole traceback.")
    verbose = click.option(
        "-v",
        "--verbose",
        is_flag=True,
        expose_value=False,
        callback=_log_to_stderr,
        help="Tell on stderr what is done.",
    )
    return verbose(debug(function))


def json_option(function: Function) -> Function:
    """`--json`: one object on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(function)


def set_log_level(context: click.Context, level: int) -> None:
    """What of the library's log is shown while the command runs."""
    logger = logging.getLogger("lite")
    context.call_on_close(partial(logger.setLevel, logger.level))
    logger.setLevel(level)


def _log_to_stderr(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        set_log_level(context, logging.INFO)

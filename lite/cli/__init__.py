"""The command line: one file a verb. Nothing here imports an engine or numpy before a verb runs."""

import gc
import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from lite.cli.bench import bench
from lite.cli.calibrate import calibrate
from lite.cli.completion import completion
from lite.cli.convert import convert
from lite.cli.doctor import doctor
from lite.cli.eval import evaluate
from lite.cli.ls import ls
from lite.cli.options import common_options
from lite.cli.pull import pull
from lite.cli.quant_report import quant_report
from lite.cli.quantize import quantize
from lite.cli.replay import replay
from lite.cli.report import report
from lite.cli.run import run
from lite.cli.show import show
from lite.cli.strategies import strategies
from lite.cli.verify import verify
from lite.cli.warmup import warmup
from lite.errors import LiteError

__all__ = ["main"]

_INTERRUPTED = 130  # 128 + SIGINT
_CLOSED_PIPE = 141  # 128 + SIGPIPE
_OBJECTS_BETWEEN_COLLECTIONS = 100_000  # JAX makes half a million that stay; to look through them every 700 takes 0.1 s

_EPILOG = """\b
Every option has an environment variable, and the command line wins over it:
  LITE_RUN_SAMPLES=32 is --samples 32 of `lite run`.
Folders: LITE_CACHE_DIR, LITE_MODELS_DIR. `lite completion bash` sets up completion."""


class _Program(click.Group):
    """Every failure is one line on stderr and an exit code: 2 usage, 1 failure, 130 Ctrl-C, 141 closed pipe."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, *rest: Any, **extra: Any) -> Any:
        arguments = list(sys.argv[1:] if args is None else args)
        _open_what_was_closed()
        gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
        extra["standalone_mode"] = False
        try:
            code = super().main(arguments, prog_name or "lite", *rest, **extra)
            sys.stdout.flush()
        except BaseException as error:  # noqa: BLE001  # `_exit_code` hands back what it does not know
            code = _exit_code(error, debug="--debug" in arguments)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(_INTERRUPTED)  # before click prints a line of its own
        except BrokenPipeError:
            _discard_output()
            ctx.exit(_CLOSED_PIPE)


def _open_what_was_closed() -> None:
    """A stream that was closed before we began (`>&-`) is None in Python, and nothing could be written to it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # for as long as we run


def _exit_code(error: BaseException, *, debug: bool) -> int:
    """Tell the failure in a line; with `debug`, and for what is no failure, raise it on."""
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return _INTERRUPTED
    if isinstance(error, BrokenPipeError):
        _discard_output()
        return _CLOSED_PIPE
    if debug or not isinstance(error, Exception):
        raise error
    _complain(_message(error))
    return error.exit_code if isinstance(error, LiteError | click.ClickException) else 1


def _message(error: Exception) -> str:
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, LiteError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return "out of memory; lower --parallel or --ctx-size, or choose a smaller model"
    return f"{type(error).__name__}: {error} (a fault of lite's own; run again with --debug and report it)"


def _complain(message: str) -> None:
    try:
        click.echo(f"lite: error: {' '.join(message.split())}", err=True)
    except OSError:
        _discard_output()  # stderr is closed too: the exit code has to do


def _discard_output() -> None:
    """So that the interpreter's own flush at exit does not fail once more."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _replace_what_cannot_be_shown() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@click.group(
    cls=_Program,
    context_settings={"auto_envvar_prefix": "LITE", "help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
    invoke_without_command=True,
)
@common_options
@click.version_option(package_name="lite-runtime", message="lite %(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """Makes small local language models reason better: many samples at once, exact certainty, one voted answer.

    \b
      lite run "Tom has 3 boxes of 12 pens and gives away 7. How many are left?"
    """
    logging.basicConfig(format="lite: %(message)s")
    _replace_what_cannot_be_shown()
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _verb in (
    bench,
    calibrate,
    completion,
    convert,
    doctor,
    evaluate,
    ls,
    pull,
    quant_report,
    quantize,
    replay,
    report,
    run,
    show,
    strategies,
    verify,
    warmup,
):
    main.add_command(_verb)

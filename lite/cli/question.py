"""Where the question comes from: a file or a pipe first, then the argument."""

import sys
from pathlib import Path

import click

__all__ = ["read_question"]


def read_question(argument: str | None, file: Path | None) -> str:
    """The parts that are there, joined by a line break. Raises UsageError when there are none."""
    parts = (_read_file(file), _read_pipe(), argument or "")
    question = "\n".join(stripped for part in parts if (stripped := part.strip()))
    if not question:
        raise click.UsageError('there is no question: lite run "..." (or -f FILE, or a pipe)')
    return question


def _read_file(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}") from None


def _read_pipe() -> str:
    """Standard input, unless it is a terminal or closed."""
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        return ""
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"standard input is not {sys.stdin.encoding} text: {error.reason}") from None

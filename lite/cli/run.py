"""`lite run`: ask a model one question."""

import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lite.cli.options import (
    chosen_options,
    common_options,
    device_options,
    json_option,
    model_options,
    prompt_cache_bytes,
    prompt_cache_options,
    sampling_options,
    set_log_level,
)
from lite.cli.outcome import samples_table, summary, winners_thought
from lite.cli.progress import Display, LiveLine, Silent, TextStream
from lite.cli.question import read_question
from lite.cli.remote import remote_for, remote_options
from lite.cli.router import read_router
from lite.cli.thought import split_thought
from lite.errors import LiteError
from lite.options import make_strategy, num_at_once, num_samples

if TYPE_CHECKING:
    from lite.api import Model
    from lite.options import Options
    from lite.registry import RemoteConfig
    from lite.results import Progress, Result
    from lite.sampler import Strategy

__all__ = ["run"]

_MOST_SLOTS = 32  # samples drawn at once unless --parallel says otherwise


@click.command(short_help="Ask a model one question.")
@click.argument("question", required=False)
@click.option("-f", "--file", type=click.Path(path_type=Path), help="Read the question from a file; it comes first.")
@click.option("--strategy", help="See `lite strategies`.  [default: self-certainty; with --remote: cascade]")
@click.option("--router", type=click.Path(path_type=Path), help="A file of `lite calibrate`, in place of --strategy.")
@sampling_options
@model_options
@device_options
@prompt_cache_options
@remote_options
@click.option("--budget-tokens", type=int, help="Stop after this many tokens, with the best answer so far.")
@click.option("--max-seconds", type=float, help="Stop after this time, with the best answer so far.")
@click.option("--max-money", type=float, help="Ask the remote model no more once this much is spent.")
@click.option(
    "--show",
    type=click.Choice(["samples", "thought"]),
    multiple=True,
    help="Also print, on stderr: a table of the samples; the winner's thought.",
)
@json_option
@click.option("--timings", is_flag=True, help="With --json: the seconds too, which differ from run to run.")
@click.option("--no-stream", is_flag=True, help="Show nothing before the end.")
@click.option("-q", "--quiet", is_flag=True, help="Nothing but the answer, and errors.")
@common_options
@click.pass_context
def run(context: click.Context, /, question: str | None, file: Path | None, **chosen: Any) -> None:
    """Draw many answers to a QUESTION at once and print the one they vote for.

    The question is the file's text, then what is piped in, then the argument. The answer goes to stdout, everything
    else to stderr.

    \b
      lite run "Ann has 4 boxes of 25 nails and uses 37. How many are left?"
      lite run -m qwen3.gguf --samples 32 --show samples < problem.txt
      lite run --remote https://host/v1 --remote-key-env KEY --private "@example.org" "..."
    """
    if chosen["quiet"]:
        set_log_level(context, logging.ERROR)
    asked = read_question(question, file)
    call = _call(chosen)
    remote = remote_for({call.name: call.strategy}, chosen)
    with _load(chosen, _slots(call, chosen), remote) as model:
        if call.model not in ("", model.name) and not chosen["quiet"]:
            click.echo(f"lite: {chosen['router']} was calibrated with {call.model}, not {model.name}", err=True)
        display = _display(model, call.strategy, chosen)
        result = _watched(model.stream(asked, call.name, **call.options), display)
        _print(result, model, chosen, told=display.tells_answer)


@dataclass(frozen=True, slots=True)
class _Call:
    """What is asked of the model, checked before it is loaded."""

    name: str
    strategy: "Strategy"
    options: "Options"
    model: str = ""  # the one that the router was calibrated with


def _call(chosen: dict[str, Any]) -> _Call:
    """Raises UsageError for values out of range."""
    from lite.budget import Budget

    name, options, model = chosen["strategy"], chosen_options(chosen), ""
    if chosen["router"] is not None:
        if name is not None:
            raise click.UsageError("give --strategy or --router, not both: the file names its strategy")
        name, options, model = read_router(chosen["router"], options)
    name = name or ("cascade" if chosen["remote"] else "self-certainty")
    try:
        options["budget"] = Budget(
            tokens=chosen["budget_tokens"], seconds=chosen["max_seconds"], money=chosen["max_money"]
        )
        return _Call(name, make_strategy(name, options), options, model)
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from error


def _slots(call: _Call, chosen: dict[str, Any]) -> int:
    is_auto = call.options.get("samples") == "auto"
    return chosen["parallel"] or (_MOST_SLOTS if is_auto else min(num_at_once(call.strategy), _MOST_SLOTS))


def _load(chosen: dict[str, Any], slots: int, remote: "RemoteConfig | None") -> "Model":
    from lite.api import load
    from lite.registry import join_hosts

    if chosen["hosts"]:
        join_hosts(chosen["hosts"])
    return load(
        chosen["model"],
        chosen["backend"],
        format=chosen["weights"],
        samples=slots,
        context=chosen["ctx_size"],
        threads=chosen["threads"],
        remote=remote,
        prompt_cache=prompt_cache_bytes(chosen),
        mesh=chosen["mesh"],
    )


def _display(model: "Model", strategy: "Strategy", chosen: dict[str, Any]) -> Display:
    """Text as it comes for a lone sample, one live line for many, nothing where nobody watches."""
    from lite.answers import extract

    thought_shown = "thought" in chosen["show"]
    stderr_watched = sys.stderr.isatty() and not chosen["quiet"]
    stdout_watched = sys.stdout.isatty() and not chosen["as_json"]
    if chosen["no_stream"]:
        return Silent()
    if stdout_watched and num_samples(strategy) == 1:
        opened = bool(model.traits.think_opened) and chosen["think"] is not False and chosen["thinking_budget"] != 0
        return TextStream(model.traits, show_thought=stderr_watched or thought_shown, opened=opened)
    if stderr_watched:
        return LiveLine(num_samples(strategy), lambda text: extract(split_thought(text, model.traits)[1]))
    return Silent()


def _watched(updates: "Iterator[Progress | Result]", display: Display) -> "Result":
    from lite.results import Result

    try:
        for update in updates:
            if isinstance(update, Result):
                return update
            display.show(update)
    finally:
        display.close()
    raise AssertionError("a stream ends with its result")


def _print(result: "Result", model: "Model", chosen: dict[str, Any], *, told: bool) -> None:
    """`told`: the answer and its thought have been shown as they came. Raises LiteError where there is no answer."""
    if "thought" in chosen["show"] and not told:
        click.secho(winners_thought(result, model.traits), dim=True, err=True)
    if chosen["as_json"]:
        click.echo(result.to_json(timings=chosen["timings"]))
    elif not (told or result.failure):
        click.echo(result.text)
    if "samples" in chosen["show"]:
        click.echo(samples_table(result), err=True)
    if not chosen["quiet"]:
        click.echo(summary(result), err=True)
    if result.failure:
        raise LiteError(result.failure)

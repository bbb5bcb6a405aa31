"""`lite run`: ask a model one question."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from lite.cli.options import common_options, json_option, set_log_level
from lite.cli.progress import Display, LiveLine, Silent, TextStream
from lite.cli.question import read_question
from lite.cli.report import samples_table, summary, winners_thought
from lite.cli.thought import split_thought
from lite.options import make_strategy, num_samples

if TYPE_CHECKING:
    from lite.api import Model
    from lite.budget import Budget
    from lite.options import Options
    from lite.results import Progress, Result
    from lite.sampler import Strategy

__all__ = ["run"]

_SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repeat_penalty": "repetition_penalty",
    "seed": "seed",
    "max_tokens": "max_tokens",
}
"""The command line's names -> those of SamplingParams."""
_MOST_SLOTS = 32  # samples drawn at once unless --parallel says otherwise


@click.command(short_help="Ask a model one question.")
@click.argument("question", required=False)
@click.option("-f", "--file", type=click.Path(path_type=Path), help="Read the question from a file; it comes first.")
@click.option(
    "-m", "--model", metavar="MODEL", help="A GGUF file, or a name that `lite ls` shows.  [default: embedded]"
)
@click.option("--backend", default="auto", show_default=True, help="The engine.")
@click.option("--format", "weights", metavar="FORMAT", help="How the engine keeps the weights: see `lite show`.")
@click.option("--strategy", default="self-certainty", show_default=True, help="See `lite strategies`.")
@click.option("--samples", type=int, help="Answers to draw.  [default: the strategy's own, mostly 16]")
@click.option(
    "--parallel",
    type=click.IntRange(1),
    help="Answers drawn at once, if memory allows; the others wait.  [default: --samples, at most 32]",
)
@click.option("--think/--no-think", default=None, help="Whether the model thinks first.  [default: as its template]")
@click.option("--temperature", "--temp", type=float, help="0 is greedy.  [default: 1]")
@click.option("--top-p", type=float, help="Draw from the likeliest tokens of this total probability.")
@click.option("--top-k", type=int, help="Draw from this many of the likeliest tokens.")
@click.option("--min-p", type=float, help="Draw from tokens at least this likely, relative to the likeliest.")
@click.option("--repeat-penalty", type=float, help="Above 1 the tokens that were there become less likely.")
@click.option("--seed", type=int, help="The same seed gives the same samples.  [default: 0]")
@click.option("-n", "--max-tokens", "--n-predict", type=int, help="The longest answer, thought included.")
@click.option(
    "-c",
    "--ctx-size",
    type=click.IntRange(1),
    help="Tokens of prompt and answer.  [default: the model's, at most 4096]",
)
@click.option("-t", "--threads", type=click.IntRange(1), help="[default: the physical cores]")
@click.option("-s", "--system", default="", help="A system message.")
@click.option("-o", "--option", "settings", multiple=True, metavar="NAME=VALUE", help="A setting of the strategy.")
@click.option("--budget-tokens", type=int, help="Stop after this many tokens, with the best answer so far.")
@click.option("--max-seconds", type=float, help="Stop after this time, with the best answer so far.")
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
    """
    if chosen["quiet"]:
        set_log_level(context, logging.ERROR)
    asked = read_question(question, file)
    strategy, budget = _strategy(chosen)
    slots = chosen["parallel"] or min(num_samples(strategy), _MOST_SLOTS)
    with _load(chosen, slots) as model:
        display = _display(model, strategy, chosen)
        options: Options = {"think": chosen["think"], "system": chosen["system"], "budget": budget}
        result = _watched(model.stream(asked, strategy, **options), display)
        _print(result, model, chosen, told=display.tells_answer)


def _strategy(chosen: dict[str, Any]) -> "tuple[Strategy, Budget]":
    """Raises UsageError for values out of range, before a model is loaded."""
    from lite.budget import Budget

    settings = dict(_setting(text) for text in chosen["settings"])
    sampling = {name: chosen[flag] for flag, name in _SAMPLING.items() if chosen[flag] is not None}
    options = cast("Options", {**sampling, "samples": chosen["samples"], "settings": settings})
    try:
        budget = Budget(tokens=chosen["budget_tokens"], seconds=chosen["max_seconds"])
        return make_strategy(chosen["strategy"], options), budget
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="'-o'")
    return name.strip().replace("-", "_"), value


def _load(chosen: dict[str, Any], slots: int) -> "Model":
    from lite.api import load

    return load(
        chosen["model"],
        chosen["backend"],
        format=chosen["weights"],
        samples=slots,
        context=chosen["ctx_size"],
        threads=chosen["threads"],
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
        return TextStream(model.traits, show_thought=stderr_watched or thought_shown)
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
    """`told`: the answer and its thought have been shown as they came."""
    if "thought" in chosen["show"] and not told:
        click.secho(winners_thought(result, model.traits), dim=True, err=True)
    if not told:
        click.echo(result.to_json(timings=chosen["timings"]) if chosen["as_json"] else result.text)
    if "samples" in chosen["show"]:
        click.echo(samples_table(result), err=True)
    if not chosen["quiet"]:
        click.echo(summary(result), err=True)

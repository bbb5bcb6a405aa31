"""Options that several verbs have."""

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from lite.devices import parse_mesh
from lite.thinking import EFFORTS

if TYPE_CHECKING:
    from lite.options import Options

__all__ = [
    "chosen_options",
    "common_options",
    "device_options",
    "json_option",
    "model_options",
    "prompt_cache_bytes",
    "prompt_cache_options",
    "sampling_options",
    "set_log_level",
]

Function = TypeVar("Function", bound=Callable[..., Any])

_SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repeat_penalty": "repetition_penalty",
    "seed": "seed",
    "max_tokens": "max_tokens",
    "samples": "samples",
    "think": "think",
    "thinking_budget": "thinking_budget",
    "reasoning_effort": "reasoning_effort",
}
"""The command line's names -> those of `lite.Options`."""


def _mesh(text: str) -> str:
    """Refused before other hosts are waited for."""
    if text:
        parse_mesh(text)
    return text


def _samples(text: str) -> int | str:
    try:
        return text if text == "auto" else int(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a number nor auto") from None


_MODEL_OPTIONS = (
    click.option(
        "-m",
        "--model",
        metavar="MODEL",
        help="A GGUF file, a folder with an ONNX model, or a name of `lite ls`.  [default: embedded]",
    ),
    click.option("--backend", default="auto", show_default=True, help="The engine."),
    click.option("--format", "weights", metavar="FORMAT", help="How the engine keeps the weights: see `lite show`."),
    click.option(
        "--parallel",
        type=click.IntRange(1),
        help="Answers drawn at once, if memory allows; the others wait.  [default: --samples, at most 32]",
    ),
    click.option(
        "-c",
        "--ctx-size",
        type=click.IntRange(1),
        help="Tokens of prompt and answer.  [default: the model's, at most 4096]",
    ),
    click.option("-t", "--threads", type=click.IntRange(1), help="[default: the physical cores]"),
)
_DEVICE_OPTIONS = (
    click.option(
        "--mesh",
        default="",
        type=_mesh,
        metavar="data=N,model=M",
        help="Split rows and heads over N x M devices (engine jax).",
    ),
    click.option(
        "--hosts",
        metavar="I/N@HOST:PORT",
        help="This process is the I-th, from 0 on, of N that share the mesh; auto: as the cluster says.",
    ),
)
_SAMPLING_OPTIONS = (
    click.option(
        "--samples",
        type=_samples,
        metavar="N|auto",
        help="Answers to draw; auto: as many as the vote asks for.  [default: the strategy's own, mostly 16]",
    ),
    click.option(
        "--think/--no-think", default=None, help="Whether the model thinks first.  [default: as its template]"
    ),
    click.option(
        "--thinking-budget",
        "--reasoning-budget",
        type=int,
        help="The longest thought, in tokens; 0: as --no-think; -1: no limit.",
    ),
    click.option("--reasoning-effort", type=click.Choice([*EFFORTS]), help="The same, as a share of --max-tokens."),
    click.option("--temperature", "--temp", type=float, help="0 is greedy.  [default: 1]"),
    click.option("--top-p", type=float, help="Draw from the likeliest tokens of this total probability."),
    click.option("--top-k", type=int, help="Draw from this many of the likeliest tokens."),
    click.option("--min-p", type=float, help="Draw from tokens at least this likely, relative to the likeliest."),
    click.option("--repeat-penalty", type=float, help="Above 1 the tokens that were there become less likely."),
    click.option("--seed", type=int, help="The same seed gives the same samples.  [default: 0]"),
    click.option("-n", "--max-tokens", "--n-predict", type=int, help="The longest answer, thought included."),
    click.option("-s", "--system", default="", help="A system message."),
    click.option("-o", "--option", "settings", multiple=True, metavar="NAME=VALUE", help="A setting of the strategy."),
)


_PROMPT_CACHE_OPTIONS = (
    click.option(
        "--prompt-cache/--no-prompt-cache",
        default=False,
        help="Keep what is computed of prompts of 256 tokens and more on the disk, for the next call.  [default: no]",
    ),
    click.option(
        "--prompt-cache-size",
        type=click.IntRange(1),
        default=1024,
        show_default=True,
        metavar="MIB",
        help="Of all prompts kept, in MiB; the least recently used go first.",
    ),
)


def prompt_cache_options(function: Function) -> Function:
    """Whether long prompts are kept on the disk: what `prompt_cache_bytes` reads."""
    return _with(function, _PROMPT_CACHE_OPTIONS)


def prompt_cache_bytes(chosen: dict[str, Any]) -> int | None:
    """How much of them; None for nothing."""
    return chosen["prompt_cache_size"] << 20 if chosen["prompt_cache"] else None


def device_options(function: Function) -> Function:
    """On which devices it runs."""
    return _with(function, _DEVICE_OPTIONS)


def model_options(function: Function) -> Function:
    """Which model, and how it is opened."""
    return _with(function, _MODEL_OPTIONS)


def sampling_options(function: Function) -> Function:
    """How it is asked: what `chosen_options` reads."""
    return _with(function, _SAMPLING_OPTIONS)


def chosen_options(chosen: dict[str, Any]) -> "Options":
    """Those that were given, by the names that `Model.solve` knows."""
    options: dict[str, Any] = {name: chosen[flag] for flag, name in _SAMPLING.items() if chosen[flag] is not None}
    if chosen["system"]:
        options["system"] = chosen["system"]
    if chosen["settings"]:
        options["settings"] = dict(_setting(text) for text in chosen["settings"])
    return cast("Options", options)


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="'-o'")
    return name.strip().replace("-", "_"), value


def _with(function: Function, options: tuple[Callable[[Function], Function], ...]) -> Function:
    for option in reversed(options):
        function = option(function)
    return function


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

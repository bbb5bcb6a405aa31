"""The remote model of the command line: from its options, and from `[remote]` in the user's settings.

    [remote]                                  # every field of lite.RemoteConfig may stand here
    url = "https://models.example.org/v1"
    model = "larger"
    keyring = "lite"                          # after `keyring set lite models.example.org`; or key_env, or key_file
    private = ["project heron"]               # what never leaves the machine; private_action = "mask" hides it instead
    think_tags = ["<think>", "</think>"]

The file alone sends nothing: a strategy that asks a remote model has to be chosen.
"""

import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import click

from lite.config import config_file

if TYPE_CHECKING:
    from lite.registry import RemoteConfig
    from lite.sampler import Strategy

__all__ = ["remote_config", "remote_for", "remote_options"]

Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--remote", metavar="URL", help="A larger model's server, OpenAI-compatible: https://host/v1."),
    click.option("--remote-model", metavar="NAME", help="Its name there.  [default: the first that is listed]"),
    click.option("--remote-key-env", metavar="VAR", help="The environment variable that holds the key."),
    click.option("--remote-keyring", metavar="NAME", help="Or its service in the system's keyring, of the user HOST."),
    click.option("--remote-key-file", metavar="FILE", help="Or the file, which nobody else may read."),
    click.option("--remote-price", metavar="IN,OUT", help="Of a million tokens of prompt and of answer."),
    click.option("--private", metavar="REGEX", multiple=True, help="A question that matches never leaves the machine."),
    click.option("--offline", is_flag=True, help="Send nothing, whatever else is said."),
)
_KEY_FLAGS = {"remote_key_env": "key_env", "remote_keyring": "keyring", "remote_key_file": "key_file"}
_FLAGS = {"remote": "url", "remote_model": "model", **_KEY_FLAGS}
_PATHS = ("key_file", "ca_file")


def remote_options(function: Function) -> Function:
    """`--remote` and what belongs to it."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def remote_for(strategies: "Mapping[str, Strategy]", chosen: dict[str, Any]) -> "RemoteConfig | None":
    """The remote model if one of the strategies, by their names, asks it; tells when one was given for nothing.

    Raises UsageError where there is none to ask, and for settings out of range.
    """
    asking = [name for name, strategy in strategies.items() if "remote" in strategy.needs]
    if not asking:
        _check_private(chosen["private"])
        if (chosen["remote"] or chosen["remote_model"]) and not chosen["quiet"]:
            names = ", ".join(strategies)
            click.echo(f"lite: --remote is not used: {names} asks no remote model, see `lite strategies`", err=True)
        return None
    config = remote_config(chosen)
    if config is None:
        raise click.UsageError(f"{asking[0]} asks a remote model: give --remote URL, or [remote] in {config_file()}")
    return config


def _check_private(patterns: tuple[str, ...]) -> None:
    """A rule that cannot be read is told of even where nothing is sent."""
    from lite.privacy import Privacy

    try:
        Privacy(patterns=tuple(patterns))
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def remote_config(chosen: dict[str, Any]) -> "RemoteConfig | None":
    """What the settings say, and over it the options; None where neither names a server."""
    from lite.registry import RemoteConfig

    path = config_file()
    settings = _read(path)
    given = {field: chosen[flag] for flag, field in _FLAGS.items() if chosen[flag]}
    if given.keys() & {*_KEY_FLAGS.values()}:
        settings = {name: value for name, value in settings.items() if name not in _KEY_FLAGS.values()}
    if chosen["remote_price"]:
        given["prompt_price"], given["completion_price"] = _prices(chosen["remote_price"])
    merged = {**settings, **given}
    if not merged.get("url"):
        if given:
            raise click.UsageError("the server is missing: give --remote URL too")
        return None
    try:
        return RemoteConfig(**_rules(merged, chosen))
    except ValueError as error:
        raise click.UsageError(f"the remote model: {error}") from error


def _rules(settings: dict[str, Any], chosen: dict[str, Any]) -> dict[str, Any]:
    """The settings with what may leave the machine: file and options add up."""
    from lite.privacy import Privacy
    from lite.sampler import Traits

    settings = dict(settings)
    patterns = (*settings.pop("private", ()), *chosen["private"])
    settings["privacy"] = Privacy(patterns=patterns, action=settings.pop("private_action", "withhold"))
    settings["offline"] = bool(chosen["offline"] or settings.get("offline"))
    if "think_tags" in settings:
        settings["traits"] = Traits(*settings.pop("think_tags"))
    if "can" in settings:
        settings["can"] = frozenset(settings["can"])
    for name in _PATHS:
        if settings.get(name):
            settings[name] = str(Path(settings[name]).expanduser())
    return settings


def _prices(text: str) -> tuple[float, float]:
    parts = text.split(",")
    try:
        prompt, completion = (float(part) for part in parts)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not IN,OUT", param_hint="'--remote-price'") from None
    return prompt, completion


def _read(path: Path) -> dict[str, Any]:
    """The file's `[remote]`, every value of the kind that it should be."""
    try:
        table = tomllib.loads(path.read_text("utf-8")).get("remote", {})
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.UsageError(f"{path} cannot be read: {error}") from error
    if not isinstance(table, dict):
        raise click.UsageError(f"{path}: remote must be a table, [remote]")
    kinds = _kinds()
    for name, value in table.items():
        if name not in kinds:
            raise click.UsageError(f"{path}: [remote] has no {name!r}{_guess(name, kinds)}")
        if not kinds[name](value):
            raise click.UsageError(f"{path}: {name} of [remote] cannot be {value!r}")
    return table


def _guess(name: str, known: dict[str, Any]) -> str:
    if "key" in name:
        return ": the key belongs into the keyring, a file of its own (key_file), or the environment (key_env)"
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there is {', '.join(known)}"


def _kinds() -> dict[str, Callable[[Any], bool]]:
    """For each name in the file, whether a value is of its kind."""
    from lite.registry import RemoteConfig

    hints = get_type_hints(RemoteConfig)
    kinds: dict[str, Callable[[Any], bool]] = {
        field.name: _is_of(hints[field.name])
        for field in fields(RemoteConfig)
        if field.name not in ("privacy", "traits", "can")
    }
    kinds |= dict.fromkeys(("private", "can"), _is_texts)
    kinds["think_tags"] = lambda value: _is_texts(value) and len(value) == 2
    kinds["private_action"] = lambda value: isinstance(value, str)
    return kinds


def _is_of(hint: Any) -> Callable[[Any], bool]:
    if get_origin(hint) is Literal:
        return lambda value: value in get_args(hint)
    wanted = [kind for kind in get_args(hint) or (hint,) if kind is not NoneType]
    if float in wanted:
        return lambda value: isinstance(value, int | float) and not isinstance(value, bool)
    return lambda value: type(value) in wanted


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)

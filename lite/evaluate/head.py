"""The first line of a log: what was asked, of whom, and how."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from hashlib import file_digest
from pathlib import Path

from lite.evaluate.items import Suite
from lite.evaluate.log import VERSION, Plain
from lite.evaluate.shared import plain_request
from lite.options import DEFAULT_PARAMS, Options
from lite.params import SamplingParams
from lite.sampler import Ability, Request, Traits

__all__ = ["file_hash", "head_line", "plain_options"]


def head_line(
    suite: Suite,
    *,
    model: Mapping[str, str],
    samplers: Mapping[str, tuple[Iterable[Ability], Traits]],
    checker: str,
    options: Options,
    remote: str = "",
) -> Plain:
    """`model` has name, engine, format and hash; `options` are those that all strategies share; `remote` is asked."""
    return {
        "lite_log": VERSION,
        "task": {"name": suite.name},
        "model": dict(model),
        "samplers": {name: {"can": sorted(can), "traits": asdict(traits)} for name, (can, traits) in samplers.items()},
        "options": plain_options(options),
        "checker": checker,
        **({"remote": remote} if remote else {}),
    }


def plain_options(options: Options) -> Plain:
    """What decides the samples beside a strategy's own settings."""
    budget = options.get("budget")
    return {
        "params": plain_request(Request("", _params(options)))["params"],
        "think": options.get("think"),
        "system": options.get("system", ""),
        "budget_tokens": budget.tokens if budget else None,
    }


def file_hash(path: Path) -> str:
    """sha256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _params(options: Options) -> SamplingParams:
    return options.get("params", DEFAULT_PARAMS)

"""`lite strategies`: how answers can be chosen, and each way's settings."""

import json
from itertools import groupby
from textwrap import fill
from typing import TYPE_CHECKING, Any

import click

from lite.cli.options import common_options, json_option
from lite.cli.table import table

if TYPE_CHECKING:
    from lite.strategies.settings import Description

__all__ = ["strategies"]

_FAMILIES = {
    "select": "choose among whole samples",
    "stop": "stop early",
    "budget": "decide how much to spend",
    "route": "ask another model, or nobody",
}
_WIDTH = 100


@click.command(short_help="List the strategies, or one with its settings.")
@click.argument("name", required=False)
@json_option
@common_options
def strategies(name: str | None, as_json: bool) -> None:
    """List the strategies; with NAME tell one's settings, for `lite run -o NAME=VALUE`."""
    from lite.strategies import STRATEGIES
    from lite.strategies.settings import describe

    try:
        descriptions = [describe(one) for one in ([name] if name else STRATEGIES)]
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if as_json:
        plain = [_plain(one) for one in descriptions]
        click.echo(json.dumps(plain[0] if name else plain, ensure_ascii=False))
    elif name:
        click.echo(_page(descriptions[0]))
    else:
        click.echo(_list(descriptions))


def _list(descriptions: "list[Description]") -> str:
    """The families, each with its strategies."""
    parts = []
    for family, members in groupby(descriptions, key=lambda one: one.family):
        rows = [(f"  {one.name}", one.summary, one.paper) for one in members]
        parts.append(
            f"{family}: {_FAMILIES.get(family, '')}".rstrip(": ") + "\n" + table(("", "", ""), rows).lstrip("\n")
        )
    return "\n\n".join(parts)


def _page(description: "Description") -> str:
    lines = [
        f"{description.name}: {description.summary}",
        "",
        fill(description.text, _WIDTH, break_long_words=False, break_on_hyphens=False),
        "",
        f"family: {description.family}",
        *([f"paper: {description.paper}"] if description.paper else []),
        f"cost: {description.cost}",
        f"needs: {_needs(description)}",
    ]
    rows = [(setting.name, setting.kind, setting.default, setting.doc) for setting in description.settings]
    return "\n".join([*lines, *(["", table(("setting", "value", "default", ""), rows)] if rows else [])])


def _needs(description: "Description") -> str:
    """What each sampler has to be able to do, as the strategy is set by default."""
    return "; ".join(
        f"{', '.join(sorted(abilities)) or 'nothing but text'} of the {sampler} model"
        for sampler, abilities in sorted(description.needs.items())
    )


def _plain(description: "Description") -> dict[str, Any]:
    settings = [
        {"name": setting.name, "kind": setting.kind, "default": setting.default, "doc": setting.doc}
        for setting in description.settings
    ]
    needs = {sampler: sorted(abilities) for sampler, abilities in sorted(description.needs.items())}
    return {
        "name": description.name,
        "family": description.family,
        "summary": description.summary,
        "text": description.text,
        "paper": description.paper,
        "cost": description.cost,
        "settings": settings,
        "needs": needs,
    }

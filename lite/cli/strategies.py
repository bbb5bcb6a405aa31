"""`lite strategies`: how answers can be chosen, and each way's settings."""

import json
from typing import TYPE_CHECKING, Any

import click

from lite.cli.options import common_options, json_option
from lite.cli.table import table

if TYPE_CHECKING:
    from lite.strategies.settings import Description

__all__ = ["strategies"]


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
        click.echo(
            table(("name", "what it does", "paper"), [(one.name, one.summary, one.paper) for one in descriptions])
        )


def _page(description: "Description") -> str:
    head = f"{description.name}: {description.summary}" + (f" ({description.paper})" if description.paper else "")
    needs = ", ".join(sorted({ability for abilities in description.needs.values() for ability in abilities}))
    rows = [(setting.name, setting.kind, setting.default, setting.doc) for setting in description.settings]
    parts = [head, f"needs: {needs or 'nothing but text'}"]
    return "\n".join([*parts, *(["", table(("setting", "value", "default", ""), rows)] if rows else [])])


def _plain(description: "Description") -> dict[str, Any]:
    settings = [
        {"name": setting.name, "kind": setting.kind, "default": setting.default, "doc": setting.doc}
        for setting in description.settings
    ]
    needs = {sampler: sorted(abilities) for sampler, abilities in sorted(description.needs.items())}
    return {
        "name": description.name,
        "summary": description.summary,
        "paper": description.paper,
        "settings": settings,
        "needs": needs,
    }

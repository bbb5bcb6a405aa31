"""`lite ls`: the models at hand."""

import json

import click

from lite.cli.options import common_options, json_option
from lite.cli.table import human_bytes, table

__all__ = ["ls"]


@click.command(short_help="List the models at hand.")
@json_option
@common_options
def ls(as_json: bool) -> None:
    """List the embedded model and the GGUF files in the model folders (LITE_MODELS_DIR)."""
    from lite.models import find_models

    models = find_models()
    if as_json:
        plain = [
            {"name": model.name, "bytes": model.num_bytes, "embedded": model.embedded, "path": str(model.path)}
            for model in models
        ]
        click.echo(json.dumps(plain, ensure_ascii=False))
        return
    rows = [
        (model.name, human_bytes(model.num_bytes), "embedded" if model.embedded else str(model.path))
        for model in models
    ]
    click.echo(table(("name", "size", "where"), rows, right=frozenset((1,))))

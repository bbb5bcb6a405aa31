"""`lite ls`: the models at hand."""

import json
import os
from typing import TYPE_CHECKING, Any

import click

from lite.cli.options import common_options, json_option
from lite.cli.table import human_bytes, table

if TYPE_CHECKING:
    from lite.stores.found import FoundModel

__all__ = ["ls"]


@click.command(short_help="List the models at hand.")
@json_option
@common_options
def ls(as_json: bool) -> None:
    """List the models at hand, by the names that -m takes; nothing is changed.

    The embedded one, the GGUF files in the model folders (LITE_MODELS_DIR), and what other programs have fetched: in
    the Hugging Face cache (also folders of safetensors and ONNX), by Ollama, LM Studio and llama.cpp.

    A name may be shortened as long as one model answers to it: hf:OWNER/NAME:FILE to OWNER/NAME, NAME, FILE or
    OWNER/NAME:Q8_0, and ollama:NAME:TAG to NAME:TAG.
    """
    from lite.library import find_models
    from lite.stores.found import Search

    search = Search()
    models = find_models(search)
    click.echo(json.dumps([_plain(one) for one in models], ensure_ascii=False) if as_json else _page(models))
    for skipped in search.skipped:
        click.echo(f"lite: passed over {skipped}", err=True)


def _plain(model: "FoundModel") -> dict[str, Any]:
    return {
        "name": model.name,
        "bytes": model.num_bytes,
        "embedded": model.embedded,
        "path": str(model.path),
        "store": model.store,
        "kind": model.kind,
        "problem": model.problem,
    }


def _page(models: "list[FoundModel]") -> str:
    rows = [(one.name, human_bytes(one.num_bytes), one.kind, _where(one)) for one in models]
    return table(("name", "size", "kind", "where"), rows, right=frozenset((1,)))


def _where(model: "FoundModel") -> str:
    home = os.path.join(os.path.expanduser("~"), "")
    where = "embedded" if model.embedded else str(model.path).replace(home, os.path.join("~", ""), 1)
    return f"{where} (not usable: {model.problem})" if model.problem else where

"""`lite show`: what a model file holds, and what it needs."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from lite.cli.options import common_options, json_option
from lite.cli.table import human_bytes, table

if TYPE_CHECKING:
    from lite.engines import WeightFormat
    from lite.models import ModelDescription

    _Formats: TypeAlias = Mapping[str, Mapping[str, WeightFormat]]

__all__ = ["show"]

_SAMPLES = (1, 4, 16, 32)


@click.command(short_help="Tell what a model file holds and needs.")
@click.argument("model", required=False)
@click.option("-c", "--ctx-size", type=click.IntRange(1), help="Tokens a sample may have.  [default: as `lite run`]")
@json_option
@common_options
def show(model: str | None, ctx_size: int | None, as_json: bool) -> None:
    """Tell what MODEL (a file, a folder or a name; default: the embedded model) holds, read from its tensors.

    "Batch-invariant" means that a sample has the same bits whatever is drawn beside it.
    """
    from lite.library import resolve
    from lite.registry import describe_model

    description, formats = describe_model(resolve(model))
    facts = _facts(description, formats, ctx_size)
    click.echo(json.dumps(facts, ensure_ascii=False) if as_json else _page(facts))


def _facts(description: "ModelDescription", formats: "_Formats", asked_context: int | None) -> dict[str, Any]:
    from lite.registry import DEFAULT_CONTEXT

    config = description.config
    context = min(asked_context or DEFAULT_CONTEXT, config.context_length)
    return {
        "name": description.name,
        "path": str(description.path),
        "architecture": config.architecture,
        "parameters": description.num_parameters,
        "layers": config.num_layers,
        "hidden_size": config.hidden_size,
        "heads": config.num_heads,
        "kv_heads": config.num_kv_heads,
        "vocabulary": description.num_tokens,
        "tokenizer": f"{description.tokenizer} {description.pre_tokenizer}".strip(),
        "context": config.context_length,
        "weights_bytes": description.weights_bytes,
        "tensor_types": [
            {"type": summary.type, "tensors": summary.num_tensors, "bytes": summary.num_bytes}
            for summary in description.tensor_types
        ],
        "chat_template": description.has_template,
        "think_tags": [description.think_open, description.think_close] if description.think_open else None,
        "thinking_switch": description.thinking_switch,
        "memory_context": context,
        "engines": _engines(description, formats, context),
    }


def _engines(description: "ModelDescription", engines: "_Formats", context: int) -> list[dict[str, Any]]:
    """Each engine's formats, with the bytes that samples of `context` tokens take."""
    from lite.engines import weights_bytes
    from lite.models import memory_needed

    rows = []
    for engine, formats in engines.items():
        for name, weight_format in formats.items():
            size = weights_bytes(description.config, description.num_parameters, weight_format)
            memory = {str(n): memory_needed(description.config, size, n, context) for n in _SAMPLES}
            rows.append(
                {
                    "engine": engine,
                    "format": name,
                    "default": name == next(iter(formats)),
                    "batch_invariant": weight_format.batch_invariant,
                    "memory_bytes": memory,
                }
            )
    return rows


def _page(facts: dict[str, Any]) -> str:
    types = ", ".join(
        f"{kind['type']} {human_bytes(kind['bytes'])} ({kind['tensors']})" for kind in facts["tensor_types"]
    )
    shape = (
        f"{facts['layers']} layers of {facts['hidden_size']}, {facts['heads']} heads, {facts['kv_heads']} of them KV"
    )
    lines = [
        ("model", facts["name"]),
        ("file", facts["path"]),
        ("architecture", f"{facts['architecture']}, {facts['parameters'] / 1e6:,.1f} M parameters"),
        ("shape", shape),
        ("tensors", types),
        ("tokenizer", f"{facts['tokenizer']}, {facts['vocabulary']} tokens"),
        ("context", f"{facts['context']} tokens"),
        ("template", _template(facts)),
    ]
    return f"{table(('', ''), lines).lstrip()}\n\n{_engine_table(facts)}"


def _template(facts: dict[str, Any]) -> str:
    if not facts["chat_template"]:
        return "none: questions are put as plain text"
    tags = facts["think_tags"]
    if not tags:
        return "yes, without a thinking mode"
    switch = "--no-think is the template's own switch" if facts["thinking_switch"] else "--no-think closes the thought"
    return f"yes, thinks in {tags[0]}...{tags[1]}; {switch}"


def _engine_table(facts: dict[str, Any]) -> str:
    head = ("engine", "format", "batch-invariant", *(f"N={n}" for n in _SAMPLES))
    rows = [
        (
            row["engine"],
            row["format"] + (" (default)" if row["default"] else ""),
            "yes" if row["batch_invariant"] else "no",
            *(human_bytes(row["memory_bytes"][str(n)]) for n in _SAMPLES),
        )
        for row in facts["engines"]
    ]
    title = f"memory for N samples of {facts['memory_context']} tokens:"
    return f"{title}\n{table(head, rows, right=frozenset(range(3, 3 + len(_SAMPLES))))}"

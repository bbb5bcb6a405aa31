"""`lite convert`: a Hugging Face folder becomes a GGUF file."""

from pathlib import Path

import click

from lite.cli.options import common_options
from lite.cli.table import human_bytes

__all__ = ["convert"]

_TYPES = ("auto", "f32", "f16", "bf16", "q8_0")


@click.command(short_help="Make a GGUF file of a Hugging Face folder.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="[default: FOLDER-TYPE.gguf in this folder]")
@click.option(
    "--type",
    "kind",
    type=click.Choice(_TYPES, case_sensitive=False),
    default="auto",
    show_default=True,
    help="Of the matrices; auto: the one that they have.",
)
@click.option("--force", is_flag=True, help="Replace the output where it is there already.")
@common_options
def convert(folder: Path, output: Path | None, kind: str, force: bool) -> None:
    """Make a GGUF file of FOLDER, which holds config.json, safetensors and tokenizer.json.

    Llama, Qwen2, Qwen3 and Gemma 3 (its text part) are converted. `lite run -m FOLDER` converts by itself, once, into
    the cache, and with the engine jax reads FOLDER as it lies; `lite quantize` makes the result smaller.
    """
    from lite.quant.convert import convert as library
    from lite.quant.hf_folder import model_name

    name = model_name(folder) if kind == "auto" else f"{model_name(folder)}-{kind.upper()}"
    target = library(folder, output or Path(f"{name}.gguf"), type=kind, force=force)
    click.echo(f"{target}: {human_bytes(target.stat().st_size)}")

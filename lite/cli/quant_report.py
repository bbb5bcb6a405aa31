"""`lite quant-report`: what fewer bits do to a model, on the same tokens and the same random bits."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lite.cli.bench import watched
from lite.cli.options import common_options, json_option
from lite.cli.quant_tables import report_text

if TYPE_CHECKING:
    from lite.evaluate.quantization.report import Work

__all__ = ["quant_report"]

_PATH = click.Path(path_type=Path, dir_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command("quant-report", short_help="Measure what fewer bits do to a model.")
@click.argument("model", required=False)
@click.option(
    "--formats",
    metavar="FORMAT,...",
    help="As `lite quantize` knows them, with +imatrix calibrated; int8-row, onnx-q8, onnx-q4; openvino-int8-row, "
    "openvino-q8, openvino-q4; or GGUF files.  "
    "[default: q8_0,q6_k,q4_k_m,q4_0 with llama.cpp, and our own three]",
)
@click.option("--task", default="word-problems", show_default=True, help="Questions, as `lite eval` takes them.")
@click.option("--problems", type=click.IntRange(2), default=100, show_default=True, help="How many questions.")
@click.option("--samples", type=click.IntRange(2), default=8, show_default=True, help="Samples a question.")
@click.option("--task-seed", type=int, default=0, show_default=True, help="Draws a built-in task's questions.")
@click.option("--text", type=_FILE, help='Score this text too: paragraphs, or a .jsonl file of {"text"}.')
@click.option("--imatrix", type=_FILE, help="Calibrate the formats named +imatrix on this text: another than --text.")
@click.option("--backend", default="auto", show_default=True, help="The engine of GGUF formats.")
@click.option("--think/--no-think", default=None, help="Whether the model thinks first.  [default: as its template]")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same samples.")
@click.option("-n", "--max-tokens", type=click.IntRange(1), default=1024, show_default=True, help="Longest answer.")
@click.option("--parallel", type=click.IntRange(1), default=16, show_default=True, help="Samples at once.")
@click.option("-c", "--ctx-size", type=click.IntRange(2), help="Tokens of prompt and answer.")
@click.option("-t", "--threads", type=click.IntRange(1), help="[default: the physical cores]")
@click.option("-o", "--out", type=_PATH, help="Write everything that was measured, as JSON.")
@click.option("--plot", type=_PATH, help="Draw it against the size of the weights, as PNG (extra `eval`).")
@json_option
@click.option("-q", "--quiet", is_flag=True, help="Nothing but the result, and errors.")
@common_options
def quant_report(**chosen: Any) -> None:
    """Quantise MODEL (a file or a name; default: the embedded model) in each format and compare it with float32.

    The float32 model draws samples once; every format is then fed the same tokens, and its distribution compared over
    the whole vocabulary: the divergence, and what becomes of certainty, entropy and the vote. It also answers by
    itself, with the same random bits. Each engine's formats are compared with that engine's own float32.

    \b
      lite quant-report --formats q8_0,q4_k_m,q2_k,int8-row --no-think --plot formats.png
      lite quant-report qwen3-f16.gguf --formats q4_k_m,q4_k_m+imatrix --text wiki.txt --imatrix other.txt
    """
    from lite.evaluate.quantization.plot import draw_plot, require_plot
    from lite.evaluate.quantization.report import measure

    if chosen["plot"] is not None:
        require_plot()
    told = watched(measure(_work(chosen)), "steps", quiet=chosen["quiet"])
    if chosen["out"] is not None:
        chosen["out"].write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    if chosen["plot"] is not None:
        draw_plot(chosen["plot"], told)
    click.echo(json.dumps(told) if chosen["as_json"] else report_text(told))


def _work(chosen: dict[str, Any]) -> "Work":
    """Raises UsageError for a task, ModelError for a model that is not there."""
    from lite.evaluate.items import load_suite
    from lite.evaluate.quantization.report import Work
    from lite.evaluate.quantization.samples import Asked
    from lite.evaluate.quantization.variants import default_formats
    from lite.library import resolve
    from lite.params import SamplingParams

    try:
        params = SamplingParams(max_tokens=chosen["max_tokens"], seed=chosen["seed"])
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    suite = load_suite(chosen["task"], limit=chosen["problems"], seed=chosen["task_seed"])
    return Work(
        model=resolve(chosen["model"]),
        formats=default_formats() if chosen["formats"] is None else _names(chosen["formats"]),
        asked=Asked(items=suite.items, samples=chosen["samples"], params=params, think=chosen["think"]),
        backend=chosen["backend"],
        text=chosen["text"],
        imatrix=chosen["imatrix"],
        num_slots=chosen["parallel"],
        context_length=chosen["ctx_size"],
        threads=chosen["threads"],
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())

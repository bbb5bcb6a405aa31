"""`lite quantize`: a model in fewer bits."""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lite.cli.options import common_options, json_option
from lite.cli.table import human_bytes, table

if TYPE_CHECKING:
    from lite.quant.imatrix import ImportanceMatrix
    from lite.quant.quantize import QuantizeResult

__all__ = ["quantize"]

_ONNX_BITS = {"f32": 32.0, "int8-row": 8.0, "q8": 9.0, "q4": 5.0}  # of a weight, scales included

_EPILOG = """\b
  lite quantize model-F16.gguf --to Q4_K_M
  lite quantize model-F16.gguf --to IQ2_XS --imatrix text.txt
  lite quantize model-F16.gguf --to Q4_0 --tensor 'attn_v=Q8_0' --tensor 'blk[.]0[.]=Q6_K'"""


def _assignment(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for text in values:
        pattern, equals, kind = text.rpartition("=")
        if not equals or not pattern or not kind:
            raise click.BadParameter(f"{text!r} is not REGEX=TYPE")
        pairs[pattern] = kind
    return pairs


@click.command(short_help="Write a model in fewer bits.", epilog=_EPILOG)
@click.argument("model", required=False)
@click.option("--to", "wanted", metavar="FORMAT", help="Q4_K_M, IQ2_XS, int8-row, onnx-q4, ...: `--to list` tells all.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="[default: MODEL-FORMAT in this folder]")
@click.option(
    "--imatrix",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A text like those it will read, to measure which columns matter; or a file of such measurements.",
)
@click.option(
    "--save-imatrix", type=click.Path(path_type=Path), metavar="FILE", help="Keep the measurements, as llama.cpp does."
)
@click.option("--pure", is_flag=True, help="The format's own type for every matrix: no mix.")
@click.option(
    "--tensor",
    "tensors",
    multiple=True,
    metavar="REGEX=TYPE",
    callback=_assignment,
    help="A type for the matrices whose names match; the first match counts.",
)
@click.option("--output-type", metavar="TYPE", help="Of the head.")
@click.option("--token-embedding-type", metavar="TYPE", help="Of the embedding.")
@click.option("--head-bits", type=click.Choice(["8", "4"]), help="Of embedding and head, for onnx-q8 and onnx-q4.")
@click.option("-t", "--threads", type=click.IntRange(1), help="[default: the physical cores]")
@click.option("--force", is_flag=True, help="Replace the output where it is there already.")
@json_option
@common_options
def quantize(
    model: str | None,
    wanted: str | None,
    output: Path | None,
    imatrix: Path | None,
    save_imatrix: Path | None,
    head_bits: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Write MODEL (a file, a Hugging Face folder or a name; default: the embedded model) in fewer bits.

    It tells what each tensor became. GGUF files are made by llama.cpp (extra `llama`), importance matrices measured
    here; int8-row, onnx-q8 and onnx-q4 make a folder with an ONNX model.
    """
    from lite.library import resolve
    from lite.quant import quantize as library
    from lite.quant.drafts import refuse_inputs

    if wanted is None or wanted == "list":
        click.echo(_formats(as_json))
        return
    source = resolve(model)
    target = output or Path(library.target_name(source, wanted))
    refuse_inputs(target, [imatrix] if imatrix else [])
    measured = _kept(source, imatrix, save_imatrix, options["threads"]) if save_imatrix else imatrix
    bits = int(head_bits) if head_bits else None
    result = library.quantize(source, target, to=wanted, imatrix=measured, head_bits=bits, **options)
    click.echo(json.dumps(_facts(result), ensure_ascii=False) if as_json else _page(result))


def _kept(source: Path, imatrix: Path | None, keep: Path, threads: int | None) -> "ImportanceMatrix":
    """The measurements, which are written to `keep` too."""
    from lite.quant.drafts import refuse_inputs
    from lite.quant.gguf import open_gguf
    from lite.quant.imatrix import write_imatrix
    from lite.quant.quantize import load_imatrix

    if imatrix is None:
        raise click.UsageError("--save-imatrix keeps what --imatrix measures: give --imatrix too")
    refuse_inputs(keep, [source, imatrix])
    with open_gguf(source) as file:
        matrix = load_imatrix(file, imatrix, threads=threads)
    write_imatrix(keep, matrix)
    return matrix


def _formats(as_json: bool) -> str:
    from lite.quant.gguf_formats import GGUF_FORMATS, bits_of
    from lite.quant.quantize import ONNX_FORMATS

    rows = [(name, entry.base, bits_of(entry.base), entry.needs_imatrix) for name, entry in GGUF_FORMATS.items()]
    rows += [(name, kind, _ONNX_BITS[kind], False) for name, kind in ONNX_FORMATS.items()]
    if as_json:
        keys = ("format", "base_type", "bits", "needs_imatrix")
        return json.dumps([dict(zip(keys, row, strict=True)) for row in rows])
    cells = [(name, base, f"{bits:.2f}", "needed" if needs else "") for name, base, bits, needs in rows]
    return table(("format", "most matrices", "bits", "--imatrix"), cells, right=frozenset({2}))


def _facts(result: "QuantizeResult") -> dict[str, Any]:
    return {
        "path": str(result.path),
        "format": result.format,
        "bytes": result.num_bytes,
        "requantized": result.requantized,
        "tensors": [
            {
                "name": tensor.name,
                "shape": tensor.shape,
                "source_type": tensor.source_type,
                "type": tensor.type,
                "bytes": tensor.num_bytes,
                "denied_type": tensor.denied_type or None,
            }
            for tensor in result.tensors
        ],
    }


def _page(result: "QuantizeResult") -> str:
    counts = Counter(tensor.type for tensor in result.tensors)
    sizes: Counter[str] = Counter()
    for tensor in result.tensors:
        sizes[tensor.type] += tensor.num_bytes
    rows = [
        (kind, str(counts[kind]), human_bytes(size), _some([t.name for t in result.tensors if t.type == kind]))
        for kind, size in sizes.most_common()
    ]
    lines = [table(("type", "tensors", "bytes", ""), rows, right=frozenset({1, 2}))]
    lines += _fallbacks(result)
    if result.requantized:
        lines.append("the input was quantized already: its own errors stay, start from F16 or F32 where you can")
    return "\n".join([*lines, f"{result.path}: {human_bytes(result.num_bytes)}, {result.format}"])


def _fallbacks(result: "QuantizeResult") -> list[str]:
    """One line for all that were denied one type for one reason, with every name."""
    groups: dict[tuple[str, str, int], list[str]] = {}
    for tensor in result.fallbacks:
        groups.setdefault((tensor.type, tensor.denied_type, tensor.shape[-1]), []).append(tensor.name)
    return [
        f"fallback to {kind}: rows of {columns} do not suit {denied} ({', '.join(names)})"
        for (kind, denied, columns), names in groups.items()
    ]


def _some(names: list[str]) -> str:
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")

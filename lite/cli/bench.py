"""`lite bench`: how fast a model is here, on which engine and in which format, and what holds it back."""

import json
from pathlib import Path
from typing import Any

import click

from lite.cli.options import common_options, json_option
from lite.cli.rate import RateLine
from lite.cli.table import human_bytes, table

__all__ = ["bench", "watched"]

_PATH = click.Path(path_type=Path, dir_okay=False)


@click.command(short_help="Measure a model's speed on this machine.")
@click.argument("model", required=False)
@click.option("--backend", "engines", multiple=True, help="An engine; any number of them.  [default: the first]")
@click.option(
    "--format", "formats", multiple=True, help="A format, or all; any number of them.  [default: each engine's own]"
)
@click.option("--samples", default="1,2,4,8,16", show_default=True, metavar="N,N,...", help="Samples at once.")
@click.option("--prompt-tokens", type=click.IntRange(2), default=128, show_default=True, help="Length of the prompt.")
@click.option("-n", "--max-tokens", type=click.IntRange(2), default=32, show_default=True, help="Tokens a sample.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Of which medians are told.")
@click.option("-t", "--threads", type=click.IntRange(1), help="[default: each engine's choice]")
@click.option("-o", "--out", type=_PATH, help="Write everything that was measured, as JSON.")
@click.option("--plot", type=_PATH, help="Write the curves over the number of samples, as SVG.")
@json_option
@click.option("-q", "--quiet", is_flag=True, help="Nothing but the result, and errors.")
@common_options
def bench(
    model: str | None,
    engines: tuple[str, ...],
    formats: tuple[str, ...],
    samples: str,
    prompt_tokens: int,
    max_tokens: int,
    rounds: int,
    threads: int | None,
    out: Path | None,
    plot: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure MODEL (a file or a name; default: the embedded model): prompt, first token, and N samples at once.

    The variants take turns, and medians over the rounds are told, with their quartiles. "Memory" and "arithmetic" are
    shares of what this machine was measured to copy and to multiply (float32): near 100 % the machine is the limit.
    Weights that fit the processor's cache, and integer kernels, may go beyond.

    \b
      lite bench --format all
      lite bench qwen3.gguf --backend onnx --backend llama --samples 1,16 --plot speed.svg
    """
    from lite.evaluate.benchmark import Workload, benchmark, plot_of
    from lite.library import resolve

    try:
        workload = Workload(
            samples=_numbers(samples),
            prompt_tokens=prompt_tokens,
            new_tokens=max_tokens,
            rounds=rounds,
            threads=threads,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    told = watched(benchmark(resolve(model), engines, formats, workload), quiet=quiet)
    if out is not None:
        out.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    if plot is not None:
        plot.write_text(plot_of(told), "utf-8")
    click.echo(json.dumps(told) if as_json else _page(told))


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not N,N,...", param_hint="'--samples'") from None


def watched(runs: Any, what: str = "runs", *, quiet: bool) -> dict[str, Any]:
    """The generator's result; how far it is on stderr."""
    rate: RateLine | None = None
    try:
        while True:
            done, total = next(runs)
            rate = rate or RateLine(total, what, quiet=quiet)
            rate.show(done, 0)
    except StopIteration as end:
        told: dict[str, Any] = end.value
        return told
    finally:
        runs.close()
        if rate is not None:
            rate.close()


def _page(told: dict[str, Any]) -> str:
    machine, work = told["machine"], told["workload"]
    head = (
        f"{told['model']['name']}: a prompt of {work['prompt_tokens']} tokens, {work['new_tokens']} new ones a sample, "
        f"median of {work['rounds']} rounds (quartiles)\n"
        f"machine: copies {machine['copy_bytes_per_second'] / 1e9:.1f} GB/s, multiplies "
        f"{machine['float32_flops_per_second'] / 1e9:.0f} GFLOP/s (float32) on {machine['threads']} threads"
    )
    names = (
        *("engine", "format", "N", "prompt tok/s", "first token", "tok/s", "step", "forward", "draw", "schedule"),
        *("memory", "arithmetic", "needs"),
    )
    rows = [_row(variant, run) for variant in told["variants"] for run in variant["runs"]]
    return f"{head}\n\n{table(names, rows, right=frozenset(range(2, len(names))))}"


def _row(variant: dict[str, Any], run: dict[str, Any]) -> tuple[str, ...]:
    rate = run["decode_rate"]
    return (
        variant["engine"],
        variant["format"],
        str(run["samples"]),
        f"{run['prefill_rate']['median']:.0f}",
        _milliseconds(run["first_token"]),
        f"{rate['median']:.0f} ({rate['low']:.0f}-{rate['high']:.0f})",
        *(_milliseconds(run[name]) for name in ("step", "forward", "draw", "scheduling")),
        f"{run['memory_share']:.0%}",
        f"{run['arithmetic_share']:.0%}",
        human_bytes(run["needed_bytes"]),
    )


def _milliseconds(spread: dict[str, float] | None) -> str:
    return "-" if spread is None else f"{1000 * spread['median']:.3g} ms"

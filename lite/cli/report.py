"""`lite report`: what an evaluation found, as one file to open, mail or keep."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lite.cli.options import common_options
from lite.cli.table import human_bytes

if TYPE_CHECKING:
    from lite.evaluate.checking import Checker
    from lite.evaluate.log import Log

__all__ = ["report"]

_PATH = click.Path(path_type=Path, dir_okay=False)


@click.command(short_help="Show an evaluation as one HTML file.")
@click.argument("logs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("-o", "--out", type=_PATH, help="The HTML file.  [default: as the first log, with .html]")
@click.option("--png", type=_PATH, help="Also the main charts, as a picture (extra `eval`).")
@click.option("--csv", type=_PATH, help="Also the figures, as comma-separated values.")
@click.option(
    "--select",
    "specs",
    multiple=True,
    metavar="NAME[:SETTING=VALUE,...]",
    help="Also this strategy, decided on the logs' samples as `lite replay` does; any number of them.",
)
@click.option("--title", help="[default: the task and the model]")
@click.option(
    "--traces", type=click.IntRange(0), metavar="N", help="Samples of at most N questions.  [default: as many as fit]"
)
@common_options
def report(
    logs: tuple[Path, ...],
    out: Path | None,
    png: Path | None,
    csv: Path | None,
    specs: tuple[str, ...],
    title: str | None,
    traces: int | None,
) -> None:
    """Write what LOGS of `lite eval` tell into one HTML file that opens anywhere, offline; several logs are one.

    It shows accuracy against tokens and against samples, calibration, all figures, and the samples of each question
    side by side: how sure every token was, where each was stopped, how the vote grew.

    \b
      lite report run.jsonl
      lite report shard-*.jsonl -o result.html --csv result.csv --png result.png
    """
    from lite.evaluate.checking import Checker
    from lite.evaluate.opened import check_outputs, opened_logs
    from lite.evaluate.report.picture import require_matplotlib

    html = out or Path(logs[0].stem + ".html")
    check_outputs(logs, {"--out": html, "--csv": csv, "--png": png})
    if png is not None:
        require_matplotlib()
    with Checker() as checker, opened_logs(logs, checker) as log:
        _add_replayed(log, specs, checker)
        named = {"html": html, "png": png, "csv": csv}
        for path in _write(log, named, title, traces):
            click.echo(path)
            click.echo(f"{human_bytes(path.stat().st_size)} in {path}", err=True)


def _add_replayed(log: "Log", specs: tuple[str, ...], checker: "Checker") -> None:
    from lite.evaluate.entries import make_entries
    from lite.evaluate.replay import add_replayed, options_of, replay

    if specs:
        entries = make_entries(specs, options_of(log))
        add_replayed(log, entries, list(replay(log, entries, checker)))


def _write(log: "Log", paths: dict[str, Path | None], title: str | None, most_traces: int | None) -> list[Path]:
    """Write the files that have a path; these paths."""
    from lite.evaluate.report.page import page_data, render_page
    from lite.evaluate.report.picture import draw_picture
    from lite.evaluate.report.rows import rows_of
    from lite.evaluate.report.sheet import render_sheet
    from lite.evaluate.report.traces import collect_traces
    from lite.evaluate.summary import measured, summarise

    summary, took = summarise(log), measured(log)
    rows = rows_of(summary, took)
    heading = title or _title(summary)
    traces = collect_traces(log, [row.strategy for row in rows], most_questions=most_traces)
    if paths["html"]:
        data = page_data(log, summary, took, rows, traces, heading)
        paths["html"].write_text(render_page(data), "utf-8", newline="\n")
    if paths["csv"]:
        paths["csv"].write_text(render_sheet(rows), "utf-8", newline="\n")
    if paths["png"]:
        draw_picture(paths["png"], rows, summary["curves"], heading)
    return [path for path in paths.values() if path]


def _title(summary: dict[str, Any]) -> str:
    return f"{summary['task']['name']} on {summary['model']['name']}"

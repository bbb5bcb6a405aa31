"""`lite replay`: other choices among the samples of a log, without the model."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lite.cli.options import common_options, json_option
from lite.cli.summary import summary_text

if TYPE_CHECKING:
    from lite.evaluate.checking import Checker
    from lite.evaluate.log import Log

__all__ = ["replay"]

_BEGINS = (b'{"answer":', b'{"lite_log":')
_LONGEST_BEGIN = max(map(len, _BEGINS))


@click.command(short_help="Decide again on a log's samples, without the model.")
@click.argument("logs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--select",
    "specs",
    multiple=True,
    metavar="NAME[:SETTING=VALUE,...]",
    help="A strategy, as for `lite eval`; any number of them.  [default: what the logs hold]",
)
@click.option("--against-recorded", is_flag=True, help="Also the strategies that the logs hold.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the replayed answers, a line each.")
@json_option
@click.option("-q", "--quiet", is_flag=True, help="Nothing but the summary, and errors.")
@common_options
def replay(
    logs: tuple[Path, ...],
    specs: tuple[str, ...],
    against_recorded: bool,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run strategies over the samples of LOGS and tell which pays; several logs of one task are one.

    A strategy gives exactly the answer that it gives live on the same samples. A log of another tool is read too:
    JSON lines with a question, its answer, and samples with their texts and log-probabilities.

    \b
      lite replay run.jsonl --select borda:p=0.5 --select rpc --select majority:samples=4
      lite replay shard-*.jsonl
    """
    from lite.evaluate.checking import Checker
    from lite.evaluate.opened import check_outputs, opened_logs
    from lite.evaluate.summary import summarise

    check_outputs(logs, {"--out": out})
    if out is not None:
        _check_out(out)
    with Checker() as checker, opened_logs(logs, checker) as log:
        labels = list(log.labels) if against_recorded or not specs else []
        labels += [label for label in _replayed(log, specs, checker, out, quiet=quiet) if label not in labels]
        summary = summarise(log, labels)
    click.echo(json.dumps(summary, ensure_ascii=False) if as_json else summary_text(summary))


def _check_out(path: Path) -> None:
    """Raises UsageError for a file that is there and is no log: adding to it could cut off its last line."""
    from lite.errors import UsageError
    from lite.evaluate.log import check_place

    check_place(path)
    if path.exists():
        with path.open("rb") as file:
            begin = file.read(_LONGEST_BEGIN)
        if begin and not begin.startswith(_BEGINS):
            raise UsageError(f"{path} holds something else than a log: name another file for --out")


def _replayed(log: "Log", specs: tuple[str, ...], checker: "Checker", out: Path | None, *, quiet: bool) -> list[str]:
    """Put the replayed answers into the log, as it is in memory; their labels."""
    from lite.evaluate.entries import make_entries
    from lite.evaluate.log import LogWriter
    from lite.evaluate.replay import add_replayed, options_of, replay

    entries = make_entries(specs, options_of(log))
    begun = time.perf_counter()
    lines = list(replay(log, entries, checker))
    if entries and not quiet:
        each = (time.perf_counter() - begun) / max(1, len(lines))
        click.echo(f"{len(lines)} answers replayed, {1000 * each:.1f} ms each", err=True)
    add_replayed(log, entries, lines)
    if out is not None:
        with LogWriter(out) as writer:
            writer.write(lines)
    return [entry.label for entry in entries]

"""`lite verify`: whether another engine, format or server would have drawn a log's tokens."""

import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lite.cli.options import common_options, json_option
from lite.cli.rate import RateLine
from lite.cli.table import table

if TYPE_CHECKING:
    from lite.evaluate.log import Log

__all__ = ["verify"]

_SHOWN = 5


@click.command(short_help="Check a log's tokens on another engine or format.")
@click.argument("logs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "-m", "--model", metavar="MODEL", help="A GGUF file, or a name that `lite ls` shows.  [default: embedded]"
)
@click.option("--backend", default="auto", show_default=True, help="The engine that verifies.")
@click.option("--format", "weights", metavar="FORMAT", help="How it keeps the weights: see `lite show`.")
@click.option("--limit", type=click.IntRange(1), help="Only so many questions.  [default: all]")
@click.option("--sampler", default="local", show_default=True, help="Which of the log's samplers.")
@click.option("--min-match", type=click.FloatRange(0, 1), help="Exit with code 1 when fewer tokens match.")
@click.option("--parallel", type=click.IntRange(1), default=16, show_default=True, help="Samples at once.")
@click.option("-c", "--ctx-size", type=click.IntRange(1), help="Tokens of prompt and answer.")
@click.option("-t", "--threads", type=click.IntRange(1), help="[default: the physical cores]")
@json_option
@click.option("-q", "--quiet", is_flag=True, help="Nothing but the result, and errors.")
@common_options
@click.pass_context
def verify(context: click.Context, /, **chosen: Any) -> None:
    """Feed the tokens of LOGS to another engine or format and tell how many it would have drawn itself.

    It draws with the same random bits, so that two sound engines with the same weights part only at near-ties, where
    the lead of the token is about 0; other weights, such as a coarser quantization, part more often and by more. The
    tokens of a remote server were drawn with its own random numbers: these are scored, and their log-probabilities
    compared.

    \b
      lite verify run.jsonl --format f32
      lite verify run.jsonl -m model-q4.gguf --backend llama --min-match 0.98
    """
    from lite.evaluate.checking import Checker
    from lite.evaluate.opened import opened_logs

    with Checker(use_math_verify=False) as checker, opened_logs(chosen["logs"], checker) as log:
        told = _verified(log, chosen)
    click.echo(json.dumps(told, ensure_ascii=False) if chosen["as_json"] else _page(told))
    wanted, rate = chosen["min_match"], told["match_rate"]
    context.exit(1 if wanted is not None and (rate is None or rate < wanted) else 0)


def _verified(log: "Log", chosen: dict[str, Any]) -> dict[str, Any]:
    from lite.errors import UsageError
    from lite.evaluate.head import file_hash
    from lite.evaluate.parts import opened_parts
    from lite.evaluate.verify import verify as verify_log
    from lite.library import resolve

    if chosen["sampler"] not in log.head["samplers"]:
        known = ", ".join(log.head["samplers"])
        raise UsageError(f"the log has no sampler {chosen['sampler']!r}: it has {known}")
    model = resolve(chosen["model"])
    settings = {
        "format": chosen["weights"],
        "num_slots": chosen["parallel"],
        "context_length": chosen["ctx_size"],
        "threads": chosen["threads"],
    }
    names = list(islice(log.items, chosen["limit"]))
    rate = RateLine(len(names), "questions", quiet=chosen["quiet"])
    with opened_parts(model, chosen["backend"], **settings) as parts:
        try:
            result = None
            for done, result in enumerate(verify_log(log, parts, questions=names, sampler=chosen["sampler"]), 1):
                rate.show(done, result.tokens)
        finally:
            rate.close()
        spec = parts.backend.spec
        verifier = {"name": parts.name, "engine": spec.engine, "format": spec.format, "hash": file_hash(model)}
    if result is None or not result.tokens:
        raise UsageError("the log holds no tokens that this model could have drawn: is it a log of another model?")
    return {"recorded": log.head["model"], "verifier": verifier, **result.plain()}


def _page(told: dict[str, Any]) -> str:
    head = [
        ("recorded by", _described(told["recorded"])),
        ("verified by", _described(told["verifier"])),
        ("branches", f"{told['branches']}" + _skipped(told["skipped_branches"])),
        ("tokens", f"{told['tokens']}"),
    ]
    if told["redrawn"]:
        head += _match_lines(told)
    else:
        head.append(("drawn again", "no: the log's engine draws with its own random numbers"))
    head += [
        (f"{name} drift", f"mean {drift['mean']:.2e}, 99 % within {drift['p99']:.2e}, most {drift['most']:.2e} nats")
        for name, drift in told["drift"].items()
        if drift
    ]
    return "\n".join([table(("", ""), head).lstrip("\n"), *_difference_lines(told)])


def _match_lines(told: dict[str, Any]) -> list[tuple[str, str]]:
    low, high = told["interval"]
    differing = told["tokens"] - told["matched"]
    lines = [
        ("the same token", f"{told['match_rate']:.4%} ({low:.4%} to {high:.4%})"),
        ("the same branch", f"{told['identical_branches']} of {told['branches']}"),
        ("lead, median", _nats(told["lead"]["median"])),
    ]
    if differing:
        lead = told["lead_at_differences"]
        lines.append(("differing tokens", f"{differing}, of which {told['near_ties']} are near-ties"))
        lines.append(("lead there", f"median {_nats(lead['median'])}, most {_nats(lead['most'])}"))
    return lines


def _difference_lines(told: dict[str, Any]) -> list[str]:
    if not told["differences"]:
        return []
    rows = [
        (
            one["question"],
            str(one["sample"]),
            str(one["position"]),
            str(one["recorded"]),
            str(one["drawn"]),
            _nats(one["lead"]),
        )
        for one in sorted(told["differences"], key=lambda one: -(one["lead"] or 0.0))[:_SHOWN]
    ]
    names = ("question", "sample", "position", "recorded", "drawn", "lead")
    return ["", "The clearest differences:", table(names, rows, right=frozenset((1, 2, 3, 4, 5)))]


def _described(model: dict[str, str]) -> str:
    parts = (model["name"], model["engine"], model["format"], f"({model['hash'][:12]})" if model["hash"] else "")
    return " ".join(part for part in parts if part)


def _skipped(count: int) -> str:
    return f", {count} more are no tokens of this model or too long" if count else ""


def _nats(value: float | None) -> str:
    return "no rival" if value is None else f"{value:.4f} nats"

"""`lite calibrate`: settle a router's threshold on questions with known answers."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lite.cli.options import chosen_options, common_options, json_option, model_options, sampling_options
from lite.cli.remote import remote_for, remote_options

if TYPE_CHECKING:
    from lite.evaluate.items import Item
    from lite.options import Options
    from lite.registry import OpenedModel
    from lite.sampler import Answer, Question, Sampler, Strategy
    from lite.strategies.route.calibration import Calibration, Observation

__all__ = ["calibrate"]

_MOST_SLOTS = 32
_SHOWN = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0)  # shares of the curve that people are shown


@click.command(short_help="Settle when a router asks the larger model.")
@click.option("--task", required=True, metavar="FILE", help='Lines of {"question", "answer"}, or a built-in task.')
@click.option("--limit", type=click.IntRange(1), help="How many questions.  [default: all of a file]")
@click.option("--router", "--strategy", default="cascade", show_default=True, help="cascade or hybrid.")
@click.option("--share", type=float, help="Send at most this share of questions to the larger model.")
@click.option("--accuracy", type=float, help="Or: keep what is answered here with at least this accuracy.")
@click.option("--error", type=float, default=0.1, show_default=True, help="With --accuracy: the risk that it is less.")
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file to write.")
@sampling_options
@model_options
@remote_options
@json_option
@click.option("-q", "--quiet", is_flag=True, help="Nothing but errors.")
@common_options
def calibrate(**chosen: Any) -> None:
    """Ask both models every question of a task, and write the threshold that decides between them to a file.

    The file holds the threshold, what every other would have done, and what was asked: `lite run --router FILE`
    uses it with the same settings.

    \b
      lite calibrate --task test.jsonl --remote https://host/v1 --share 0.2 --out router.json
      lite calibrate --task test.jsonl -o large=self-certainty -o large.sampler=local --accuracy 0.9 --out router.json
    """
    from lite.calibrate import calibrated, measure_of, save
    from lite.evaluate.items import item_hash, load_suite
    from lite.strategies.route.calibration import data_hash

    options, router = _router(chosen)
    remote = remote_for({chosen["router"]: router}, chosen)
    items = load_suite(chosen["task"], limit=chosen["limit"]).items
    if not chosen["out"].parent.is_dir():
        raise click.UsageError(f"the folder of --out {chosen['out']} is not there")
    with ExitStack() as stack:
        samplers: dict[str, Sampler] = {}
        if remote is not None:
            samplers["remote"] = _remote(remote, stack)
        opened = _opened(chosen, router)
        stack.callback(opened.sampler.close)
        samplers["local"] = opened.sampler
        if not chosen["quiet"]:
            click.echo(f"asking both models {len(items)} questions", err=True)
        observations = _observations(router, items, options, samplers)
    try:
        made = calibrated(
            observations,
            strategy=chosen["router"],
            measure=measure_of(router),
            data=data_hash(item_hash(item) for item in items),
            share=chosen["share"],
            accuracy=chosen["accuracy"],
            error=chosen["error"],
            model=opened.name,
            options=dict(options),
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    save(made, chosen["out"])
    if chosen["as_json"]:
        click.echo(made.to_json())
    elif not chosen["quiet"]:
        click.echo(_summary(made, observations))


def _router(chosen: dict[str, Any]) -> "tuple[Options, Strategy]":
    """Raises UsageError for whatever is wrong, before a model is loaded."""
    from lite.calibrate import measure_of
    from lite.options import make_strategy

    if (chosen["share"] is None) == (chosen["accuracy"] is None):
        raise click.UsageError("give --share or --accuracy: one of them settles the threshold")
    for name in ("share", "accuracy", "error"):
        if chosen[name] is not None and not 0 <= chosen[name] <= 1:
            raise click.UsageError(f"--{name} must be between 0 and 1, got {chosen[name]}")
    if chosen["samples"] == "auto":
        raise click.UsageError("--samples auto has no threshold to calibrate: give a number")
    options = chosen_options(chosen)
    try:
        router = make_strategy(chosen["router"], options)
        measure_of(router)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return options, router


def _remote(config: Any, stack: ExitStack) -> "Sampler":
    from lite.registry import open_remote

    remote = open_remote(config)
    stack.callback(remote.close)
    return remote


def _opened(chosen: dict[str, Any], router: "Strategy") -> "OpenedModel":
    from lite.options import num_at_once
    from lite.registry import open_sampler

    return open_sampler(
        chosen["model"],
        chosen["backend"],
        format=chosen["weights"],
        num_slots=chosen["parallel"] or max(_MOST_SLOTS, num_at_once(router)),
        context_length=chosen["ctx_size"],
        threads=chosen["threads"],
    )


def _observations(
    router: "Strategy", items: "tuple[Item, ...]", options: "Options", samplers: "dict[str, Sampler]"
) -> "list[Observation]":
    from lite.calibrate import observe_router
    from lite.evaluate.checking import Checker

    with Checker() as checker:

        def is_right(index: int, answer: "Answer") -> bool:
            return checker.is_right(answer.value, items[index])

        return observe_router(router, [_question(item, options) for item in items], is_right, samplers=samplers)


def _question(item: "Item", options: "Options") -> "Question":
    from dataclasses import replace

    from lite.options import make_question

    return replace(make_question(item.asked, options), choices=item.choices)


def _summary(made: "Calibration", observations: "list[Observation]") -> str:
    """The threshold and a few points of the curve, for people."""
    from lite.cli.table import table
    from lite.strategies.route.calibration import point_at

    chosen = point_at(observations, made.threshold)
    near = [min(made.curve, key=lambda point: abs(point.share - share)) for share in _SHOWN]
    rows = [
        (f"{point.threshold:.4g}", f"{point.share:.0%}", f"{1 - point.risk:.1%}", f"{point.accuracy:.1%}")
        for point in dict.fromkeys(near)
    ]
    right = sum(one.small for one in observations), sum(one.large for one in observations)
    return "\n".join(
        (
            f"threshold {made.threshold:.4g} of {made.measure}: {chosen.share:.0%} of {made.questions} questions are"
            f" sent, {chosen.accuracy:.1%} are answered right ({right[0] / made.questions:.1%} by the small model"
            f" alone, {right[1] / made.questions:.1%} by the large one)",
            "",
            table(("threshold", "sent", "right of kept", "right of all"), rows, right=frozenset(range(4))),
        )
    )

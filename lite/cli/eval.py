"""`lite eval`: strategies compared on questions with known answers."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from lite.cli.options import common_options, json_option, set_log_level
from lite.cli.rate import RateLine
from lite.cli.remote import remote_for, remote_options
from lite.cli.summary import measured_line, summary_text

if TYPE_CHECKING:
    from lite.evaluate.checking import Checker
    from lite.evaluate.entries import Entry
    from lite.evaluate.evaluation import Evaluation
    from lite.evaluate.items import Item, Suite
    from lite.evaluate.log import Log, Plain
    from lite.options import Options
    from lite.registry import RemoteConfig

__all__ = ["evaluate"]

_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "seed", "max_tokens")
_LONGEST_SHARD = 20  # characters: Python refuses to read numbers of thousands
_DEFAULT = ("greedy", "majority", "self-certainty")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """All that is known before a model is loaded."""

    suite: "Suite"
    items: tuple["Item", ...]
    entries: tuple["Entry", ...]
    options: "Options"
    model: Path
    model_hash: str
    path: Path
    remote: "RemoteConfig | None"

    @property
    def remote_name(self) -> str:
        """The remote model, for the log; "" for none. Not the port, which changes from start to start."""
        if self.remote is None:
            return ""
        return f"{self.remote.model or 'the first model'} at {self.remote.host.partition(':')[0]}"


@click.command("eval", short_help="Compare strategies on questions with known answers.")
@click.argument("task")
@click.option(
    "-m", "--model", metavar="MODEL", help="A GGUF file, or a name that `lite ls` shows.  [default: embedded]"
)
@click.option("--backend", default="auto", show_default=True, help="The engine.")
@click.option("--format", "weights", metavar="FORMAT", help="How the engine keeps the weights: see `lite show`.")
@click.option(
    "--strategy",
    "strategies",
    multiple=True,
    metavar="NAME[:SETTING=VALUE,...]",
    help=f"See `lite strategies`; any number of them.  [default: {', '.join(_DEFAULT)}]",
)
@click.option("--samples", type=int, help="Samples a question.  [default: each strategy's own, mostly 16]")
@click.option("--limit", type=int, help="How many questions.  [default: all of a file, 100 of a built-in task]")
@click.option("--task-seed", type=int, default=0, show_default=True, help="Draws a built-in task's questions.")
@click.option("--parallel", type=click.IntRange(1), default=32, show_default=True, help="Samples drawn at once.")
@click.option("--think/--no-think", default=None, help="Whether the model thinks first.  [default: as its template]")
@click.option("--temperature", "--temp", type=float, help="[default: 1]")
@click.option("--top-p", type=float)
@click.option("--top-k", type=int)
@click.option("--min-p", type=float)
@click.option("--seed", type=int, help="The same seed gives the same samples.  [default: 0]")
@click.option("-n", "--max-tokens", type=int, help="The longest answer, thought included.")
@click.option("-c", "--ctx-size", type=click.IntRange(1), help="Tokens of prompt and answer.")
@click.option("-t", "--threads", type=click.IntRange(1), help="[default: the physical cores]")
@click.option("-s", "--system", default="", help="A system message.")
@click.option("--budget-tokens", type=int, help="Each answer's limit, met with the best answer so far.")
@click.option("--top-logprobs", type=click.IntRange(0, 64), default=0, help="Log this many of the likeliest tokens.")
@click.option("--log", "log_path", type=click.Path(path_type=Path, dir_okay=False), help="[default: in the cache]")
@remote_options
@click.option("--shard", metavar="I/N", help="Only every N-th question, from the I-th (0 to N - 1) on.")
@click.option("--ray", metavar="ADDRESS", help="Draw on a Ray cluster: auto, local, or its address.")
@click.option("--ray-actors", type=click.IntRange(1), default=2, show_default=True, help="Models loaded on it.")
@json_option
@click.option("--timings", is_flag=True, help="With --json: also seconds and joules, which differ from run to run.")
@click.option("-q", "--quiet", is_flag=True, help="Nothing but the summary, and errors.")
@common_options
@click.pass_context
def evaluate(context: click.Context, /, **chosen: Any) -> None:
    """Answer the questions of TASK with each strategy and tell which pays.

    TASK is built in (word-problems, arithmetic, lists, procedures), a JSONL file of {"question", "answer"} (GSM8K's
    own is one), or a folder of them. Equal samples are drawn once for all strategies. Everything is logged as it
    comes: stopped at any moment, the same command goes on where it was, and `lite replay` decides again on the log.

    \b
      lite eval word-problems --limit 200 --strategy greedy --strategy majority --strategy rpc
      lite eval test.jsonl -m qwen3.gguf --samples 8 --strategy self-certainty:power=0.5 --log run.jsonl
    """
    from lite.evaluate.checking import Checker
    from lite.evaluate.evaluation import jobs_left
    from lite.evaluate.log import read_log
    from lite.evaluate.session import open_log
    from lite.evaluate.summary import measured, summarise

    if chosen["quiet"]:
        set_log_level(context, logging.ERROR)
    work = _work(chosen)
    if not chosen["quiet"]:
        click.echo(f"log: {work.path}", err=True)
    with Checker() as checker:
        log = open_log(work.path)
        if log is None or jobs_left(work.items, work.entries, log) or not _same_settings(log, work, chosen):
            _draw(work, log, checker, chosen)
    log = read_log([work.path])
    labels, names = [entry.label for entry in work.entries], [item.id for item in work.items]
    summary, took = summarise(log, labels, names), measured(log, labels)
    if chosen["as_json"]:
        click.echo(json.dumps({**summary, "measured": took} if chosen["timings"] else summary, ensure_ascii=False))
    else:
        click.echo(summary_text(summary))
    if not chosen["quiet"]:
        click.echo(measured_line(took), err=True)


def _work(chosen: dict[str, Any]) -> _Work:
    """Raises UsageError for whatever is wrong, before a model is loaded."""
    from lite.budget import Budget
    from lite.evaluate.entries import make_entries
    from lite.evaluate.head import file_hash
    from lite.evaluate.items import load_suite, shard_of
    from lite.library import resolve

    options: dict[str, Any] = {"system": chosen["system"], "think": chosen["think"]}
    if chosen["samples"] is not None:
        options["samples"] = chosen["samples"]
    try:
        options["params"] = _params(chosen)
        options["budget"] = Budget(tokens=chosen["budget_tokens"]) if chosen["budget_tokens"] is not None else None
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    entries = make_entries(chosen["strategies"] or _DEFAULT, cast("Options", options))
    shard = _shard(chosen["shard"]) if chosen["shard"] else (0, 1)
    suite = load_suite(chosen["task"], limit=chosen["limit"], seed=chosen["task_seed"])
    model = resolve(chosen["model"])
    digest = file_hash(model)
    work = _Work(
        suite=suite,
        items=shard_of(suite.items, shard),
        entries=entries,
        options=cast("Options", options),
        model=model,
        model_hash=digest,
        path=chosen["log_path"] or Path(),
        remote=remote_for({entry.label: entry.strategy for entry in entries}, chosen),
    )
    return work if chosen["log_path"] else _with_default_path(work, chosen)


def _with_default_path(work: _Work, chosen: dict[str, Any]) -> _Work:
    """In the cache, named for all that a log cannot mix."""
    from dataclasses import replace
    from hashlib import blake2b

    from lite.config import cache_folder
    from lite.evaluate.head import plain_options

    facts = [work.model_hash, chosen["backend"], chosen["weights"], plain_options(work.options)]
    facts += [work.remote_name] if work.remote else []
    digest = blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=4).hexdigest()
    shard = f"-{chosen['shard'].replace('/', 'of')}" if chosen["shard"] else ""
    folder = cache_folder() / "evaluations"
    folder.mkdir(parents=True, exist_ok=True)
    return replace(work, path=folder / f"{work.suite.name}-{work.model.stem}-{digest}{shard}.jsonl")


def _params(chosen: dict[str, Any]) -> Any:
    from dataclasses import replace

    from lite.options import DEFAULT_PARAMS

    return replace(DEFAULT_PARAMS, **{name: chosen[name] for name in _SAMPLING if chosen[name] is not None})


def _shard(text: str) -> tuple[int, int]:
    index, slash, count = text.partition("/")
    is_one = slash and index.isdecimal() and count.isdecimal() and len(text) < _LONGEST_SHARD
    if not is_one or int(index) >= int(count):
        raise click.BadParameter(f"{text!r} is not I/N with I from 0 to N - 1", param_hint="'--shard'")
    return int(index), int(count)


def _same_settings(log: "Log", work: _Work, chosen: dict[str, Any]) -> bool:
    """Whether a finished log is what was asked for, as far as can be told without loading the model."""
    from lite.evaluate.head import plain_options

    model, told = log.head["model"], (chosen["backend"], chosen["weights"])
    return (
        model["hash"] == work.model_hash
        and log.head["task"] == {"name": work.suite.name}
        and log.head["options"] == plain_options(work.options)
        and told[0] in ("auto", model["engine"])
        and told[1] in (None, model["format"])
        and work.remote_name in ("", log.head.get("remote"))
    )


def _draw(work: _Work, log: "Log | None", checker: "Checker", chosen: dict[str, Any]) -> None:
    """Draw what is missing. What is done when it is interrupted stays."""
    from lite.registry import open_remote, open_sampler

    settings: dict[str, Any] = {
        "format": chosen["weights"],
        "num_slots": chosen["parallel"],
        "context_length": chosen["ctx_size"],
        "threads": chosen["threads"],
    }
    if chosen["ray"]:
        from lite.evaluate.on_ray import Cluster

        actors = chosen["ray_actors"]
        with Cluster(chosen["ray"], actors, work.model, chosen["backend"], settings, work.remote) as cluster:
            _draw_with(work, log, checker, chosen, cluster.opened, cluster.samplers, cluster)
        return
    with ExitStack() as stack:
        opened = open_sampler(work.model, chosen["backend"], **settings)
        stack.callback(opened.sampler.close)
        samplers = {"local": opened.sampler}
        if work.remote is not None:
            samplers["remote"] = open_remote(work.remote)
            stack.callback(samplers["remote"].close)
        _draw_with(work, log, checker, chosen, opened, samplers, None)


def _draw_with(
    work: _Work,
    log: "Log | None",
    checker: "Checker",
    chosen: dict[str, Any],
    opened: Any,
    samplers: Mapping[str, Any],
    cluster: Any,
) -> None:
    from lite.evaluate.evaluation import jobs_left
    from lite.evaluate.head import head_line
    from lite.evaluate.session import check_continues, continue_log, draw_lines

    model = {"name": opened.name, "engine": opened.engine, "format": opened.format, "hash": work.model_hash}
    abilities = {name: (sampler.can, sampler.traits) for name, sampler in samplers.items()}
    head = head_line(
        work.suite,
        model=model,
        samplers=abilities,
        checker=checker.name,
        options=work.options,
        remote=work.remote_name,
    )
    if log is not None:
        check_continues(log, head, work.items, work.path)
    jobs = jobs_left(work.items, work.entries, log)
    rate = RateLine(len(jobs), "answers", quiet=chosen["quiet"])

    def step(evaluation: "Evaluation") -> None:
        rate.show(evaluation.answers, evaluation.tokens)

    parts: Iterable[Sequence[Plain]]
    if cluster is not None:
        parts = cluster.draw(jobs, head, top_logprobs=chosen["top_logprobs"], on_progress=rate.show)
    else:
        parts = draw_lines(
            jobs,
            samplers,
            checker,
            num_slots=chosen["parallel"],
            head=head,
            top_logprobs=chosen["top_logprobs"],
            on_step=step,
        )
    try:
        for _ in continue_log(work.path, head, work.entries, parts, samples=chosen["samples"], begun=log is not None):
            pass
    except KeyboardInterrupt:
        rate.close()
        if not chosen["quiet"]:
            click.echo(f"stopped; what is done is in {work.path}, and the same command goes on", err=True)
        raise
    finally:
        rate.close()

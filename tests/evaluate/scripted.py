"""Small evaluations on a scripted model: logs without a model file."""

from collections.abc import Sequence
from pathlib import Path

from lite.backends.scripted import ScriptedSampler
from lite.evaluate.checking import Checker
from lite.evaluate.entries import Entry, make_entries
from lite.evaluate.evaluation import jobs_left
from lite.evaluate.head import head_line
from lite.evaluate.items import Item, Suite
from lite.evaluate.log import Log, read_log
from lite.evaluate.session import check_continues, continue_log, draw_lines, open_log
from lite.options import Options
from lite.params import SamplingParams
from lite.sampler import Sampler

OPTIONS: Options = {"samples": 6, "params": SamplingParams(max_tokens=40), "think": None, "system": ""}


def suite(count: int = 5) -> Suite:
    return Suite(
        name="counting",
        items=tuple(Item(id=str(i), question=f"How many in {i}?", answer=str(i % 4), index=i) for i in range(count)),
    )


def entries(*specs: str, options: Options = OPTIONS) -> tuple[Entry, ...]:
    return make_entries(specs, options)


def draw(
    path: Path,
    chosen: Sequence[Entry],
    *,
    sampler: Sampler | None = None,
    asked: Suite | None = None,
    items: Sequence[Item] | None = None,
    options: Options = OPTIONS,
    num_slots: int = 12,
    stop_after: int | None = None,
    top_logprobs: int = 0,
) -> Log:
    """Go on with the log at `path`, as `lite eval` does; `stop_after` so many parts it is abandoned."""
    asked = asked or suite()
    model = sampler or ScriptedSampler()
    checker = Checker(use_math_verify=False)
    head = head_line(
        asked,
        model={"name": "scripted", "engine": "scripted", "format": "", "hash": "0"},
        samplers={"local": (model.can, model.traits)},
        checker=checker.name,
        options=options,
    )
    log = open_log(path)
    wanted = asked.items if items is None else items
    if log is not None:
        check_continues(log, head, wanted, path)
    jobs = jobs_left(wanted, chosen, log)
    parts = draw_lines(jobs, {"local": model}, checker, num_slots=num_slots, head=head, top_logprobs=top_logprobs)
    written = continue_log(path, head, chosen, parts, samples=options.get("samples"), begun=log is not None)
    for number, _ in enumerate(written, 1):
        if number == stop_after:
            written.close()
            break
    return read_log([path])

"""Logs that others wrote: JSON lines with texts and, where they have them, log-probabilities.

A line is a question with its samples, or one sample; lines of one question are put together:

    {"question": "...", "answer": "42", "samples": ["... 42", {"text": "...", "logprobs": [-0.1, ...]}]}
    {"question": "...", "answer": "42", "text": "...", "logprobs": [...], "tokens": ["The", " answer", ...]}

A sample's text may be called text, completion, response or output; its tokens' texts are `tokens` (else all of the text
belongs to the first token); a token's statistics are `logprobs`, `entropy` and `certainty`, in nats. What is there in
every sample can be replayed. Samples count as drawn with the default parameters.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lite.errors import UsageError
from lite.evaluate.checking import Checker
from lite.evaluate.entries import Entry, make_entry
from lite.evaluate.evaluation import question_line
from lite.evaluate.head import head_line
from lite.evaluate.items import Item, Suite, load_suite
from lite.evaluate.log import LogWriter, Plain, plain_chunk
from lite.evaluate.shared import branch_key, plain_request, stream_key
from lite.ledger import Ledger
from lite.options import DEFAULT_PARAMS
from lite.sampler import Ability, Chunk, Finished, Request, Traits
from lite.strategies.branches import Branch
from lite.strategies.verdict import value_in

__all__ = ["convert", "is_lite_log"]

_TEXTS = ("text", "completion", "response", "output")
_STATISTICS: tuple[Ability, ...] = ("logprobs", "entropy", "certainty")


def is_lite_log(path: Path) -> bool:
    """Whether a file begins as our own logs do."""
    with path.open("rb") as file:
        return file.read(11) == b'{"lite_log"'


def convert(source: Path, target: Path, checker: Checker) -> None:
    """Write a foreign log as one of ours. Raises UsageError for a file that cannot be read as one."""
    suite = load_suite(str(source))
    items: dict[str, Item] = {}
    samples: dict[str, list[Mapping[str, Any]]] = {}
    for item, plain in zip(suite.items, _plain_lines(source), strict=True):
        first = items.setdefault(item.question, item)
        samples.setdefault(first.id, []).extend(_samples(plain, source))
    can = [name for name in _STATISTICS if all(name in one for each in samples.values() for one in each)]
    head = head_line(
        Suite(name=suite.name, items=()),
        model={"name": source.stem, "engine": "foreign", "format": "", "hash": ""},
        samplers={"local": (can, Traits())},
        checker=checker.name,
        options={},
    )
    entry = make_entry("majority", {"params": DEFAULT_PARAMS})
    with LogWriter(target) as writer:
        writer.write([head, {"plan": [], "samples": min(map(len, samples.values()))}])
        for item in items.values():
            writer.write(_lines(item, samples[item.id], entry, can, checker))


def _plain_lines(source: Path) -> list[Mapping[str, Any]]:
    if source.is_dir():
        raise UsageError(f"{source} is a folder: give the logs one by one")
    return [json.loads(line) for line in source.read_text("utf-8-sig").split("\n") if line.strip()]


def _samples(plain: Mapping[str, Any], source: Path) -> list[Mapping[str, Any]]:
    listed = plain["samples"] if isinstance(plain.get("samples"), list) else [plain]
    found = [{"text": one} if isinstance(one, str) else one for one in listed]
    for one in found:
        if not isinstance(one, Mapping) or not any(isinstance(one.get(name), str) for name in _TEXTS):
            raise UsageError(f"{source}: a sample has none of {', '.join(_TEXTS)}: {str(one)[:80]}")
    return found


def _lines(
    item: Item, samples: Iterable[Mapping[str, Any]], entry: Entry, can: Iterable[str], checker: Checker
) -> list[Plain]:
    return [
        question_line(item),
        *(_branch_line(item, number, sample, entry, can, checker) for number, sample in enumerate(samples)),
    ]


def _branch_line(
    item: Item, number: int, sample: Mapping[str, Any], entry: Entry, can: Iterable[str], checker: Checker
) -> Plain:
    question = entry.question(item)
    request = Request(question.prompt, DEFAULT_PARAMS, sample=number)
    drawn = _branch(request, sample, can, item)
    value = value_in(question, drawn)
    chunk = Chunk(
        request,
        0,
        tuple(drawn.ids),
        tuple(drawn.texts),
        tuple(drawn.logprobs),
        tuple(drawn.entropy),
        tuple(drawn.certainty),
    )
    return {
        "branch": branch_key(request, None),
        "question": item.id,
        "strategy": "",
        "sample": number,
        "seed": 0,
        "stream": stream_key(request, None),
        "parent": None,
        "request": {**plain_request(request), "prompt": None},
        "value": value,
        "right": checker.is_right(value, item),
        "means": {"certainty": drawn.mean_certainty, "logprob": drawn.mean_logprob},
        "reason": "eos",
        "cost": {"branches": 1, "drawn_tokens": drawn.tokens},
        **plain_chunk(None, chunk),
    }


def _branch(request: Request, sample: Mapping[str, Any], can: Iterable[str], item: Item) -> Branch:
    text = next(str(sample[name]) for name in _TEXTS if isinstance(sample.get(name), str))
    columns = {name: [float(value) for value in sample[name]] for name in can}
    lengths = {len(column) for column in columns.values()}
    tokens = sample.get("tokens")
    count = len(tokens) if isinstance(tokens, list) else next(iter(lengths), 1)
    if lengths - {count} or count < 1:
        raise UsageError(f"question {item.id}, sample {request.sample}: {count} tokens, but statistics of {lengths}")
    texts = [str(token) for token in tokens] if isinstance(tokens, list) else [text, *[""] * (count - 1)]
    drawn = Branch(request)
    if "".join(texts) != text:
        texts = [text, *[""] * (count - 1)]
    logprobs, entropy, certainty = (tuple(columns.get(name, ())) for name in _STATISTICS)
    drawn.add(Chunk(request, 0, tuple(range(count)), tuple(texts), logprobs, entropy, certainty))
    drawn.add(Finished(request, "eos", Ledger(drawn_tokens=count, branches=1)))
    return drawn

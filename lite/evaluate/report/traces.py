"""The samples of a question as the page's trace viewer reads them: compact, and compressed question by question.

Statistics are one byte a token: the share of the question's largest value, as it is for the certainty, its square root
for entropy and surprise, most of which lie near 0.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lite.evaluate.columns import unpack_floats
from lite.evaluate.log import Log, Plain

__all__ = ["Traces", "collect_traces"]

_MOST_BYTES = 8_000_000  # of all traces: what a browser opens at once and a mail server lets pass
_MOST_TOKENS = 3_000  # of a sample: a longer one loses its middle
_COLUMNS = {"certainty": 1, "entropy": 2, "surprise": 2}  # and the power that the bytes' shares are raised to


@dataclass(frozen=True, slots=True)
class Traces:
    """By question id, base64 of zlib of JSON; `total` questions were there."""

    packed: dict[str, str] = field(default_factory=dict)
    total: int = 0


def collect_traces(
    log: Log, labels: Sequence[str], *, most_questions: int | None = None, most_bytes: int = _MOST_BYTES
) -> Traces:
    """As many as there is room for: first the questions on which the strategies disagree, then those they all miss."""
    packed: dict[str, str] = {}
    room = most_bytes
    for name in sorted(log.items, key=lambda name: _interest(log, name, labels))[:most_questions]:
        text = _packed(_trace(log, name, labels))
        room -= len(text)
        if room < 0:
            break
        packed[name] = text
    return Traces({name: packed[name] for name in log.items if name in packed}, len(log.items))


def _interest(log: Log, name: str, labels: Iterable[str]) -> int:
    """0 where strategies disagree, 1 where all are wrong, 2 where all are right."""
    right = {bool(line["right"]) for label in labels if (line := log.answers.get((name, label)))}
    return 0 if len(right) > 1 else 1 if False in right else 2


def _packed(plain: Plain) -> str:
    text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode("utf-8", "backslashreplace"), 9)).decode("ascii")


def _trace(log: Log, name: str, labels: Sequence[str]) -> Plain:
    item = log.items[name]
    lines = sorted(log.lines(name), key=_place)
    numbers = {line["branch"]: number for number, line in enumerate(lines)}
    columns = [_statistics(line) for line in lines]
    scales = {kind: max((float(one[kind].max(initial=0)) for one in columns), default=0.0) for kind in _COLUMNS}
    return {
        "text": item.question,
        "choices": list(item.choices),
        "answer": item.answer,
        "scales": {kind: [scales[kind], power] for kind, power in _COLUMNS.items()},
        "branches": [
            {**_branch(line, numbers, labels), **_column_bytes(column, scales)}
            for line, column in zip(lines, columns, strict=True)
        ],
        "answers": [
            {"strategy": index, **_answer(line, numbers)}
            for index, label in enumerate(labels)
            if (line := log.answers.get((name, label)))
        ],
    }


def _place(line: Plain) -> tuple[str, bool, int, str]:
    """Samples of one sampler together, forks after them."""
    return line["request"]["sampler"], line["parent"] is not None, line["sample"], line["branch"]


def _branch(line: Plain, numbers: dict[str, int], labels: Sequence[str]) -> Plain:
    request = line["request"]
    texts = line["texts"][max(0, -line["start"]) :]
    plain = {
        "sample": line["sample"],
        "strategy": labels.index(line["strategy"]) if line["strategy"] in labels else None,
        "value": line["value"],
        "right": line["right"],
        "reason": line["reason"],
        "tokens": len(texts),
        "texts": [texts[i] for i in _kept(len(texts))],
        "greedy": request["params"].get("temperature") == 0,
    }
    if line["parent"] is not None:
        plain |= {"parent": numbers.get(line["parent"]), "at": request["at"]}
    return plain | {name: request[name] for name in ("prefix",) if request[name]} | _routed(request["sampler"])


def _routed(sampler: str) -> Plain:
    return {} if sampler == "local" else {"sampler": sampler}


def _statistics(line: Plain) -> dict[str, NDArray[np.float64]]:
    """Of the drawn tokens that are kept; an infinite value becomes the largest finite one."""
    begin, count = max(0, -line["start"]), len(line["ids"])
    kept = [begin + i for i in _kept(count - begin)]
    found = {}
    for kind, name in (("certainty", "certainty"), ("entropy", "entropy"), ("surprise", "logprobs")):
        values = np.abs(np.array(unpack_floats(line.get(name, ""))))
        finite = values[np.isfinite(values)]
        values = np.nan_to_num(values, nan=0.0, posinf=float(finite.max(initial=0)))
        found[kind] = values[kept] if len(values) else values
    return found


def _column_bytes(column: dict[str, NDArray[np.float64]], scales: dict[str, float]) -> Plain:
    plain = {}
    for kind, power in _COLUMNS.items():
        shares = (column[kind] / (scales[kind] or 1)) ** (1 / power)
        levels = np.rint(255 * shares).astype(np.uint8)
        plain[kind] = base64.b64encode(levels.tobytes()).decode("ascii")
    return plain


def _kept(count: int) -> Sequence[int]:
    """Positions of the tokens that are shown: of a long sample its beginning and its end."""
    if count <= _MOST_TOKENS:
        return range(count)
    half = _MOST_TOKENS // 2
    return [*range(half), *range(count - half, count)]


def _answer(line: Plain, numbers: dict[str, int]) -> Plain:
    cost = line["cost"]
    return {
        "value": line["value"],
        "right": line["right"],
        "confidence": line["confidence"],
        "tokens": cost.get("drawn_tokens", 0),
        "discarded": cost.get("discarded_tokens", 0),
        "error": line.get("error"),
        "candidates": [
            [
                numbers.get(one["branch"]),
                one["value"],
                one["right"],
                one["score"],
                one["votes"],
                one["tokens"],
                one["reason"],
            ]
            for one in line["candidates"]
        ],
    }

"""A log with everything a report shows: stopped, forked and routed samples, errors, and answers that are no friends."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lite.evaluate.evaluation import question_line
from lite.evaluate.head import head_line
from lite.evaluate.items import Item, Suite
from lite.evaluate.log import LogWriter, Plain, plain_chunk
from lite.options import Options
from lite.params import SamplingParams
from lite.sampler import Chunk, Request, Traits

HOSTILE = "</script><script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">"
LABELS = ("greedy", "majority", "stops:early=yes", "cascade", f"odd {HOSTILE}")
_CAN = ("logprobs", "certainty", "entropy", "prefix", "fork")


def write_log(path: Path, *, questions: int = 6, samples: int = 4, tokens: int = 24) -> Path:
    """The log of a made-up evaluation; its first question is hostile."""
    options: Options = {"params": SamplingParams(temperature=0.7), "think": None, "system": ""}
    head = head_line(
        Suite(name="made up", items=()),
        model={"name": "small", "engine": "onnx", "format": "f32", "hash": "0" * 64},
        samplers={"local": (_CAN, Traits()), "large": (_CAN, Traits())},
        checker="lite",
        options=options,
    )
    with LogWriter(path) as writer:
        writer.write([head, {"plan": list(LABELS), "samples": None}])
        for number in range(questions):
            writer.write(_question(number, samples, tokens))
    return path


def _question(number: int, samples: int, tokens: int) -> list[Plain]:
    text = f"What of {number}?" + (f" {HOSTILE}" if number == 0 else "")
    item = Item(id=str(number), question=text, answer="7", index=number)
    values = [("7", True), ("8", False), (HOSTILE if number == 0 else "9", False), ("7", True)]
    told = [values[(i + number) % len(values)] for i in range(samples)]
    branches = [_branch(number, i, told[i], tokens + i) for i in range(samples)]
    fork = _branch(number, 100, ("7", True), 3, parent=branches[0]["branch"], at=5, prefix="So the answer is <b>")
    large = _branch(number, 0, ("7", True), 9, sampler="large", strategy="cascade")
    greedy = _branch(number, 0, told[1], tokens, temperature=0.0, strategy="greedy")
    majority = [_candidate(one, 1.0) for one in branches]
    early = [_candidate(one, 1.0 + i, tokens=tokens // 2 + i) for i, one in enumerate(branches)]
    answers = [
        _answer("greedy", number, [_candidate(greedy, 0.0)], None),
        _answer("majority", number, majority, 0.5),
        _answer("stops:early=yes", number, [*early, _candidate(fork, 2.0)], 0.9 if number % 2 else 0.3),
        _answer("cascade", number, [*majority[:2], _candidate(large, 5.0)], 0.8),
    ]
    if number:
        answers.append(_answer(LABELS[4], number, majority, 0.25))
    else:
        answers.append({**_answer(LABELS[4], number, [], None), "error": f"it failed {HOSTILE}"})
    return [question_line(item), *branches, fork, large, greedy, *answers]


def _branch(
    number: int,
    sample: int,
    told: tuple[str, bool],
    tokens: int,
    *,
    parent: str | None = None,
    at: int = 0,
    prefix: str = "",
    sampler: str = "local",
    strategy: str = "majority",
    temperature: float = 0.7,
) -> Plain:
    texts = tuple(f" {told[0]}" if i == tokens - 2 else "" if i == tokens - 1 else f" word{i}" for i in range(tokens))
    entropy = tuple(0.5 + 0.5 * math.sin(i + sample) for i in range(tokens))
    columns = (tuple(-one / 2 for one in entropy), entropy, tuple(12 - 3 * one for one in entropy))
    chunk = Chunk(Request(""), 0, tuple(range(tokens)), texts, *columns)
    return {
        "branch": f"{number}-{strategy}-{sampler}-{sample}",
        "question": str(number),
        "strategy": strategy,
        "sample": sample,
        "seed": 0,
        "stream": f"{number}-{sampler}-{sample}",
        "parent": parent,
        "request": {
            "prompt": None,
            "params": {"temperature": temperature},
            "sample": sample,
            "prefix": prefix,
            "at": at,
            "sampler": sampler,
            "score": False,
        },
        "value": told[0],
        "right": told[1],
        "means": {"certainty": sum(columns[2]) / tokens, "logprob": sum(columns[0]) / tokens},
        "reason": "eos",
        "cost": {"branches": 1, "drawn_tokens": tokens},
        **plain_chunk(None, chunk),
    }


def _candidate(branch: Mapping[str, Any], votes: float, tokens: int | None = None) -> Plain:
    length = len(branch["ids"])
    return {
        "branch": branch["branch"],
        "value": branch["value"],
        "right": branch["right"],
        "score": branch["means"]["certainty"],
        "votes": votes,
        "tokens": length if tokens is None else tokens,
        "reason": "eos" if tokens is None else "cancelled",
    }


def _answer(label: str, number: int, candidates: Sequence[Plain], confidence: float | None) -> Plain:
    sums: dict[str, float] = {}
    for one in candidates:
        sums[one["value"]] = sums.get(one["value"], 0.0) + one["votes"]
    value = max(sums, key=sums.__getitem__, default=None)
    return {
        "answer": label,
        "question": str(number),
        "config": "0" * 16,
        "value": value,
        "right": value == "7",
        "text": "",
        "confidence": confidence,
        "candidates": list(candidates),
        "cost": {
            "prompt_tokens": 20,
            "drawn_tokens": sum(one["tokens"] for one in candidates),
            "branches": len(candidates),
        },
        "seconds": 1.5,
        "session": "one",
        "clock": 2.0 + number,
        "sampled": 100 * number,
        "joules": None,
    }

"""What a line of a log must have: a line that was damaged is told by name when it is read, not when it is used."""

from typing import Any

__all__ = ["lacking"]

_FIELDS = {
    "branch": frozenset(
        (
            "question",
            "strategy",
            "sample",
            "stream",
            "parent",
            "request",
            "value",
            "right",
            "means",
            "reason",
            "cost",
            "start",
            "ids",
            "texts",
        )
    ),
    "answer": frozenset(("question", "config", "value", "right", "text", "confidence", "candidates", "cost")),
    "question": frozenset(("index", "text", "choices", "right_answer", "hash")),
    "plan": frozenset(("samples",)),
    "lite_log": frozenset(("task", "model", "samplers", "options", "checker")),
}
"""By the kind of line, in the order in which kinds are told apart."""
_MEASURED = frozenset(("session", "sampled", "joules"))  # beside a "clock"
_PARTS = {
    "branch": {
        "request": frozenset(("prompt", "params", "sample", "prefix", "at", "sampler")),
        "means": frozenset(("certainty", "logprob")),
    },
    "answer": {"candidates": frozenset(("branch", "value", "right", "score", "votes", "tokens", "reason"))},
    "lite_log": {
        "task": frozenset(("name",)),
        "model": frozenset(("name", "engine", "format", "hash")),
        "options": frozenset(("params", "think", "system", "budget_tokens")),
    },
}
"""Of the objects in it, and of each object of a list in it."""


def lacking(line: dict[str, Any]) -> list[str]:
    """The fields that its kind of line has, and it has not. Raises ValueError or TypeError for what is no line."""
    if not isinstance(line, dict):
        raise ValueError("it is no JSON object")
    kind = next((kind for kind in _FIELDS if kind in line), "")
    missing = _FIELDS.get(kind, frozenset()).difference(line)
    if "clock" in line:
        missing |= _MEASURED.difference(line)
    if not missing:
        for name, needed in _PARTS.get(kind, {}).items():
            part = line[name]
            missing = missing.union(*(needed.difference(one) for one in (part if isinstance(part, list) else [part])))
    return sorted(missing)

"""A thinking budget, by the names that users of other tools know: how many tokens a thought may have.

`thinking_budget=N`, or vLLM's `thinking_token_budget`, llama.cpp's `reasoning_budget`: 0 is no thought, -1 no limit.
`reasoning_effort` is a share of `max_tokens`: none 0, minimal 0.1, low 0.2, medium 0.5, high 0.8.
"""

from collections.abc import Mapping
from dataclasses import replace

from lite.sampler import Strategy

__all__ = ["EFFORTS", "NAMES", "bounded", "thinking_budget"]

NAMES = (
    "thinking_budget",
    "thinking_budget_tokens",
    "thinking_token_budget",
    "reasoning_budget",
    "reasoning_budget_tokens",
)
"""All mean the same."""

EFFORTS: Mapping[str, float] = {"none": 0.0, "minimal": 0.1, "low": 0.2, "medium": 0.5, "high": 0.8}


def thinking_budget(options: Mapping[str, object], max_tokens: int) -> int | None:
    """What the options say, by whichever name; None is no limit.

    Raises ValueError for a value out of range, two that differ, and one that contradicts `think`.
    """
    given = {name: _tokens(name, options[name]) for name in NAMES if options.get(name) is not None}
    if (effort := options.get("reasoning_effort")) is not None:
        given["reasoning_effort"] = _share(effort, max_tokens)
    if len(set(given.values())) > 1:
        raise ValueError(f"{' and '.join(given)} are given and differ: one thinking budget is enough")
    budget = next(iter(given.values()), -1)
    name, think = next(iter(given), ""), options.get("think")
    if (think is True and budget == 0) or (think is False and budget > 0):
        raise ValueError(f"{name} asks for {budget} tokens of thought, and think is {think}: give one of them")
    return None if budget < 0 else budget


def bounded(strategy: Strategy, budget: int) -> Strategy:
    """The strategy with the local model's thoughts held to the budget, which is above 0.

    A remote model's are its own. Raises ValueError where no part of the strategy asks the local model alone.
    """
    from lite.strategies.parts import on_parts
    from lite.strategies.stop.thinking_budget import ThinkingBudget

    def bound(part: Strategy) -> Strategy:
        if isinstance(part, ThinkingBudget):
            return replace(part, budget=budget)
        return ThinkingBudget(inner=part, budget=budget)

    made = on_parts(strategy, "local", bound)
    if made is strategy:
        raise ValueError(
            f"a thinking budget bounds the local model, which {type(strategy).__name__} does not ask alone"
        )
    return made


def _tokens(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < -1:
        raise ValueError(f"{name} must be a number of tokens, 0 (no thought) or -1 (no limit), got {value!r}")
    return value


def _share(effort: object, max_tokens: int) -> int:
    if not isinstance(effort, str) or effort not in EFFORTS:
        raise ValueError(f"reasoning_effort must be one of {', '.join(EFFORTS)}, got {effort!r}")
    share = EFFORTS[effort]
    return max(1, int(share * max_tokens)) if share else 0

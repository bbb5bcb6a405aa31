"""A strategy that holds others: what is done to those parts of it that ask one sampler alone."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, cast

from lite.sampler import Strategy

__all__ = ["held", "on_parts", "with_samples"]


def held(strategy: Strategy) -> dict[str, Strategy]:
    """The strategies that one holds, by its field's name."""
    if not is_dataclass(strategy):
        return {}
    values = ((field.name, getattr(strategy, field.name)) for field in fields(strategy))
    return {name: value for name, value in values if hasattr(value, "needs")}


def on_parts(strategy: Strategy, sampler: str, change: Callable[[Strategy], Strategy]) -> Strategy:
    """The strategy with `change` done to each largest part that asks this sampler and no other.

    The very same object where there is no such part.
    """
    if set(strategy.needs) == {sampler}:
        return change(strategy)
    return _with_parts(strategy, lambda part: on_parts(part, sampler, change))


def with_samples(strategy: Strategy, samples: int) -> Strategy:
    """The strategy with that many samples, or those that it holds; the very same object where none draws several."""
    if is_dataclass(strategy) and any(field.name == "samples" for field in fields(strategy)):
        return cast(Strategy, replace(cast(Any, strategy), samples=samples))
    return _with_parts(strategy, lambda part: with_samples(part, samples))


def _with_parts(strategy: Strategy, change: Callable[[Strategy], Strategy]) -> Strategy:
    changed = {name: new for name, part in held(strategy).items() if (new := change(part)) is not part}
    return cast(Strategy, replace(cast(Any, strategy), **changed)) if changed else strategy

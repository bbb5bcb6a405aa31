"""Branches drawn to their ends, without a strategy."""

from collections.abc import Callable, Sequence

from lite.engine import Engine
from lite.sampler import Finished, Request
from lite.strategies.branches import Branch

__all__ = ["drawn_by"]


def drawn_by(
    engine: Engine, requests: Sequence[Request], meanwhile: Callable[[int, dict[Request, Branch]], None] | None = None
) -> dict[Request, Branch]:
    """What the engine drew for each request; `meanwhile` is called after each step, with its number."""
    branches = {request: Branch(request) for request in requests}
    engine.start(requests)
    step = 0
    while any(branch.finished is None for branch in branches.values()):
        for event in engine.step(wait=True):
            if isinstance(event, Finished) or event.start >= 0:
                branches[event.request].add(event)
        if meanwhile:
            meanwhile(step, branches)
        step += 1
    return branches

"""Teacher forcing with the same random bits: what an engine would have drawn where recorded tokens are fed.

At every position the engine draws with the branch's own stream, as if it had drawn all tokens before itself, and is
then fed the recorded token. So one difference does not hide the ones after it (arXiv:2511.20621).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lite.backends.base import Backend, Drawn, Row
from lite.params import SamplingParams

__all__ = ["Forced", "Redrawn", "force", "score"]


@dataclass(frozen=True, slots=True, eq=False)
class Forced:
    """A recorded branch."""

    context: tuple[int, ...]  # what it went on from
    ids: tuple[int, ...]  # what it drew
    stream: tuple[int, int]
    params: SamplingParams


@dataclass(frozen=True, slots=True, eq=False)
class Redrawn:
    """One value for each recorded token. `logprob` is of the recorded one and NaN where it was not told, in nats."""

    ids: NDArray[np.int64]  # what this engine draws
    lead: NDArray[np.float64]  # of its own token over the next, in nats of the log race time
    logprob: NDArray[np.float64]
    entropy: NDArray[np.float64]
    certainty: NDArray[np.float64]


def force(backend: Backend, branches: Sequence[Forced], end_ids: frozenset[int]) -> list[Redrawn]:
    """Redraw every token of the branches, as many branches at once as there are slots.

    Each must fit the backend's context with all its tokens.
    """
    found: list[Redrawn | None] = [None] * len(branches)
    order = sorted(range(len(branches)), key=lambda i: -len(branches[i].ids))
    slots = backend.spec.num_slots
    for start in range(0, len(order), slots):
        group = order[start : start + slots]
        for i, redrawn in zip(group, _force_group(backend, [branches[i] for i in group], end_ids), strict=True):
            found[i] = redrawn
    return [one for one in found if one is not None]


def score(backend: Backend, branch: Forced) -> Redrawn:
    """What the engine says of the recorded tokens in one pass, without a draw: `ids` and `lead` are empty."""
    context = [*branch.context, *branch.ids]
    first = len(branch.context) - 1
    backend.extend(0, 0, context[:first])
    statistics = backend.extend(0, first, context[first:-1], branch.ids)
    backend.release(0)
    assert statistics is not None
    columns = (statistics.logprob, statistics.entropy, statistics.certainty)
    return Redrawn(np.zeros(0, np.int64), np.zeros(0), *(column.astype(np.float64) for column in columns))


def _force_group(backend: Backend, branches: Sequence[Forced], end_ids: frozenset[int]) -> list[Redrawn]:
    """Of branches in order of their lengths, longest first: branch i in slot i."""
    _write_contexts(backend, branches)
    fed = [list(branch.context) for branch in branches]
    found = [_empty(len(branch.ids)) for branch in branches]
    for position in range(max(len(branch.ids) for branch in branches)):
        live = sum(len(branch.ids) > position for branch in branches)
        rows = [_row(slot, branches[slot], fed[slot], position) for slot in range(live)]
        drawn = backend.step(rows, end_ids)
        for slot in range(live):
            _note(found[slot], position, branches[slot].ids[position], drawn, slot)
            fed[slot].append(branches[slot].ids[position])
    for slot in range(len(branches)):
        backend.release(slot)
    _score_differences(backend, branches, found)
    return found


def _write_contexts(backend: Backend, branches: Sequence[Forced]) -> None:
    """All but the last token of each context; an equal one is computed once."""
    known: dict[tuple[int, ...], int] = {}
    for slot, branch in enumerate(branches):
        bare = branch.context[:-1]
        if bare in known:
            backend.fork(known[bare], slot, len(bare))
        else:
            backend.extend(slot, 0, bare)
            known[bare] = slot


def _row(slot: int, branch: Forced, fed: list[int], drawn: int) -> Row:
    return Row(
        slot=slot,
        position=len(fed) - 1,
        token=fed[-1],
        stream=branch.stream,
        drawn=drawn,
        params=branch.params,
        context=fed,
        prompt_length=len(branch.context),
        max_new=1,
    )


def _empty(count: int) -> Redrawn:
    return Redrawn(np.zeros(count, np.int64), *(np.full(count, np.nan) for _ in range(4)))


def _note(found: Redrawn, position: int, recorded: int, drawn: Drawn, row: int) -> None:
    own = int(drawn.ids[row, 0])
    found.ids[position] = own
    found.lead[position] = drawn.margin[row, 0]
    found.entropy[position] = drawn.statistics.entropy[row, 0]
    found.certainty[position] = drawn.statistics.certainty[row, 0]
    if own == recorded:
        found.logprob[position] = drawn.statistics.logprob[row, 0]


def _score_differences(backend: Backend, branches: Sequence[Forced], found: Sequence[Redrawn]) -> None:
    """Where another token was drawn, a pass without a draw tells of the recorded one."""
    for branch, redrawn in _differing(branches, found):
        missing = np.isnan(redrawn.logprob)
        redrawn.logprob[missing] = score(backend, branch).logprob[missing]


def _differing(branches: Sequence[Forced], found: Sequence[Redrawn]) -> Iterator[tuple[Forced, Redrawn]]:
    for branch, redrawn in zip(branches, found, strict=True):
        if not np.array_equal(redrawn.ids, branch.ids):
            yield branch, redrawn

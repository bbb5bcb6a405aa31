"""A backend without a model: logits are a function of the tokens. For tests, ours and yours.

Its slots hold token lists and its logits come from these alone, so that a fork, an extend or a release out of order
gives wrong tokens, or an AssertionError that says which rule of `lite.backends.base` was broken.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lite.backends.base import BackendSpec, Drawn, Row, Statistics
from lite.sampling import draw, statistics

__all__ = ["Logits", "TableBackend", "hashed_logits"]

Logits: TypeAlias = Callable[[Sequence[int]], NDArray[np.float32]]
"""Tokens so far -> raw logits of the next one, of shape (vocab_size,)."""


def hashed_logits(vocab_size: int, *, seed: int = 0, scale: float = 3.0, order: int | None = None) -> Logits:
    """Normal logits of standard deviation `scale`, seeded by the last `order` tokens (None: by all of them)."""

    def logits(tokens: Sequence[int]) -> NDArray[np.float32]:
        context = tuple(tokens) if order is None else tuple(tokens[-order:])
        digest = hashlib.blake2b(repr((seed, context)).encode(), digest_size=8).digest()
        generator = np.random.default_rng(int.from_bytes(digest, "little"))
        return (scale * generator.standard_normal(vocab_size)).astype(np.float32)

    return logits


class TableBackend:
    """A Backend whose model is a function. `forbidden` tokens are never drawn.

    Raises BackendError for logits that are not finite (-inf masks a token, as in `lite.sampling`), AssertionError for
    calls that break the interface's rules.
    """

    def __init__(
        self,
        logits: Logits,
        *,
        vocab_size: int,
        num_slots: int = 4,
        context_length: int = 128,
        tokens_per_step: int = 1,
        forbidden: Collection[int] = (),
    ) -> None:
        self._logits = logits
        self._spec = BackendSpec(
            engine="table",
            format="f32",
            vocab_size=vocab_size,
            num_slots=num_slots,
            context_length=context_length,
            tokens_per_step=tokens_per_step,
        )
        self._forbidden = np.zeros(vocab_size, np.bool_)
        self._forbidden[list(forbidden)] = True
        self._slots: list[list[int] | None] = [None] * num_slots  # None: never written, or released
        self._closed = False

    @property
    def spec(self) -> BackendSpec:
        return self._spec

    def extend(
        self, slot: int, start: int, ids: Sequence[int], targets: Sequence[int] | None = None, top: int = 0
    ) -> Statistics | None:
        tokens = [*self._held(slot, start), *ids]
        _require(len(tokens) <= self._spec.context_length, f"slot {slot} is extended past the context")
        _require(all(0 <= token < self._spec.vocab_size for token in ids), f"tokens out of the vocabulary: {ids}")
        self._slots[slot] = tokens
        if targets is None:
            return None
        _require(len(targets) == len(ids) > 0, f"{len(targets)} targets for {len(ids)} ids")
        logits = np.stack([self._after(tokens[: start + index + 1]) for index in range(len(ids))])
        return statistics(logits, np.array(targets, np.int32), top)

    def fork(self, source: int, target: int, length: int) -> None:
        self._slots[target] = self._held(source, length)

    def step(self, rows: Sequence[Row], end_ids: frozenset[int]) -> Drawn:
        _require(len({row.slot for row in rows}) == len(rows) > 0, "a step has at least one row, each its own slot")
        drawn = _nothing_drawn(rows, self._spec)
        active = dict(enumerate(rows))
        for index in range(self._spec.tokens_per_step):
            if active:
                tokens = self._draw_one(active, index, drawn)
                active = {row: _next(active[row], tokens[row]) for row in active if tokens[row] not in end_ids}
                active = {row: following for row, following in active.items() if following.max_new}
        return drawn

    def release(self, slot: int) -> None:
        self._held(slot, 0)
        self._slots[slot] = None

    def close(self) -> None:
        self._closed = True

    def _held(self, slot: int, length: int) -> list[int]:
        """The first tokens of a slot, which must be there."""
        _require(not self._closed, "the backend was closed")
        _require(0 <= slot < len(self._slots), f"there is no slot {slot}, but {len(self._slots)} from 0 on")
        tokens = self._slots[slot]
        _require(not length or tokens is not None, f"slot {slot} is empty, {length} tokens of it were asked for")
        held = tokens or []
        _require(0 <= length <= len(held), f"slot {slot} holds {len(held)} tokens, {length} were asked for")
        return held[:length]

    def _draw_one(self, active: Mapping[int, Row], column: int, drawn: Drawn) -> dict[int, int]:
        """Feed the rows and draw one token for each, into `column` of `drawn`; the tokens by row."""
        indices = list(active)
        found = draw(
            np.stack([self._feed(row) for row in active.values()]), [*active.values()], forbidden=self._forbidden
        )
        drawn.counts[indices] += 1
        for target, source in zip(_arrays(drawn), _arrays(found), strict=True):
            if target.ndim == 3:
                target[indices, column, : source.shape[2]] = source[:, 0]
            else:
                target[indices, column] = source[:, 0]
        return dict(zip(indices, found.ids[:, 0].tolist(), strict=True))

    def _feed(self, row: Row) -> NDArray[np.float32]:
        tokens = self._held(row.slot, row.position)
        stored = self._slots[row.slot] or []
        _require(len(stored) == row.position, f"slot {row.slot} holds {len(stored)} tokens, fed at {row.position}")
        _require(row.position < self._spec.context_length, f"slot {row.slot} is fed past the context")
        _require([*row.context] == [*tokens, row.token], f"slot {row.slot} holds another context than the row says")
        _require(row.drawn == len(row.context) - row.prompt_length, f"{row.drawn} tokens drawn, the row says")
        _require(row.max_new > 0, "a row that may gain nothing is drawn from")
        self._slots[row.slot] = [*tokens, row.token]
        return self._after([*tokens, row.token])

    def _after(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        logits = self._logits(tokens)
        _require(logits.shape == (self._spec.vocab_size,), f"the table gave logits of shape {logits.shape}")
        return logits


def _require(fine: bool, broken: str) -> None:
    if not fine:
        raise AssertionError(broken)


def _next(row: Row, token: int) -> Row:
    """The row that goes on after drawing `token`."""
    return replace(
        row,
        position=row.position + 1,
        token=token,
        drawn=row.drawn + 1,
        context=[*row.context, token],
        max_new=row.max_new - 1,
    )


def _nothing_drawn(rows: Sequence[Row], spec: BackendSpec) -> Drawn:
    shape = (len(rows), spec.tokens_per_step)
    best = (*shape, min(spec.vocab_size, max(row.params.top_logprobs for row in rows)))
    return Drawn(
        ids=np.zeros(shape, np.int32),
        counts=np.zeros(len(rows), np.int32),
        statistics=Statistics(
            logprob=np.zeros(shape, np.float32),
            entropy=np.zeros(shape, np.float32),
            certainty=np.zeros(shape, np.float32),
            top_ids=np.zeros(best, np.int32),
            top_logprobs=np.zeros(best, np.float32),
        ),
        margin=np.zeros(shape, np.float32),
    )


def _arrays(drawn: Drawn) -> list[NDArray[Any]]:
    """Those with one value, or a list of best tokens, for each token."""
    return [drawn.ids, drawn.margin, *(getattr(drawn.statistics, field.name) for field in fields(Statistics))]

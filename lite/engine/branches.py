"""One branch while it is drawn, and what it leaves behind for its forks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lite.backends.base import Statistics
from lite.engine.text import TokenTexts
from lite.ledger import Ledger
from lite.sampler import Chunk, Reason, Request

__all__ = ["Branch", "TokenRecord", "Trail", "chunk_of", "records", "score_records"]

Top: TypeAlias = tuple[tuple[int, float], ...]
TokenRecord: TypeAlias = tuple[int, float, float, float, Top]
"""(id, log-probability, entropy, certainty, top) of one token, as a Chunk reports them."""


def records(ids: Sequence[Sequence[int]], statistics: Statistics, tops: Sequence[int]) -> Iterator[list[TokenRecord]]:
    """The records of each row of tokens; `statistics` has shape (rows, at least as many), tops[i] is row i's k.

    The arrays are turned into lists once, for all rows.
    """
    columns = (statistics.logprob.tolist(), statistics.entropy.tolist(), statistics.certainty.tolist())
    for index, (row, logprobs, entropy, certainty, top) in enumerate(zip(ids, *columns, tops, strict=True)):
        best = _best(statistics.top_ids[index], statistics.top_logprobs[index], top) if top else repeat(())
        yield list(zip(row, logprobs, entropy, certainty, best, strict=False))


def score_records(ids: Sequence[int], statistics: Statistics, top: int) -> list[TokenRecord]:
    """The records of a scored text; `statistics` has shape (tokens,)."""
    columns = (statistics.logprob.tolist(), statistics.entropy.tolist(), statistics.certainty.tolist())
    best = _best(statistics.top_ids, statistics.top_logprobs, top) if top else [()] * len(ids)
    return list(zip(ids, *columns, best, strict=True))


def _best(ids: NDArray[np.int32], logprobs: NDArray[np.float32], top: int) -> list[Top]:
    rows = zip(ids[:, :top].tolist(), logprobs[:, :top].tolist(), strict=True)
    return [tuple(pair for pair in zip(*row, strict=True) if pair[0] >= 0) for row in rows]  # -1 fills up


def chunk_of(request: Request, start: int, tokens: Sequence[TokenRecord], texts: tuple[str, ...]) -> Chunk:
    """The Chunk of `tokens` from position `start` on; its `top` is empty where the request does not ask for it."""
    ids, logprobs, entropy, certainty, top = zip(*tokens, strict=True)
    return Chunk(request, start, ids, texts, logprobs, entropy, certainty, top if request.params.top_logprobs else ())


@dataclass(slots=True, eq=False)
class Trail:
    """What forks need of a branch; it outlives the branch for as long as its Request is alive."""

    context: list[int]  # prompt, then the parent's tokens, prefix, own tokens
    prompt_length: int  # how much of it the branch did not draw
    stream: tuple[int, int]
    given: int = 0  # own tokens that the strategy was given and has not discarded: a fork goes on from these


@dataclass(slots=True, eq=False)
class Branch:
    """A request that waits for a slot or is being drawn."""

    request: Request
    trail: Trail
    prefix_length: int  # tokens of the request's own prefix
    limit: int  # the context's length at which it ends, by max_tokens or by the model's context
    texts: TokenTexts
    slot: int | None = None
    scored: bool = False
    sampled: int = 0  # tokens drawn for it, discarded ones included
    prompt_tokens: int = 0  # these three as in Ledger
    cached_tokens: int = 0
    forced_tokens: int = 0
    _undecided: list[TokenRecord] = field(default_factory=list)  # drawn, but their text is not decided

    @property
    def drawn(self) -> int:
        """Tokens in its context that it has drawn."""
        return len(self.trail.context) - self.trail.prompt_length

    @property
    def is_fresh(self) -> bool:
        """Whether its context is what the request asked for alone: no parent's tokens, nothing drawn."""
        return self.request.parent is None and not self.drawn

    @property
    def prefix_start(self) -> int:
        """Where in its context its own prefix begins."""
        return self.trail.prompt_length - self.prefix_length

    @property
    def needs_score(self) -> bool:
        return self.request.score and self.prefix_length > 0 and not self.scored

    def charge(self, start: int, stop: int) -> None:
        """Account for the positions start..stop-1 of its context, which were computed."""
        forced = max(0, min(stop, self.trail.prompt_length) - max(start, self.prefix_start))
        self.forced_tokens += forced
        self.prompt_tokens += stop - start - forced

    def gain(
        self, tokens: Sequence[TokenRecord], end_ids: frozenset[int], token_bytes: Callable[[int], bytes]
    ) -> Reason | None:
        """Take the tokens one step drew, up to the one that ends the branch; says why it ended, or None.

        The text of the last one kept is decided if the branch ended.
        """
        reason = None
        kept = 0
        for token in tokens:
            kept += 1
            reason = self._gain(token[0], end_ids, token_bytes)
            if reason:
                break
        self.sampled += len(tokens)
        self._undecided += tokens[:kept]
        return reason

    def _gain(self, token: int, end_ids: frozenset[int], token_bytes: Callable[[int], bytes]) -> Reason | None:
        context = self.trail.context
        context.append(token)
        if token in end_ids:
            self.texts.end()
            self.texts.push(b"")
            return "eos"
        if self.texts.push(token_bytes(token)):
            return "stop"
        if len(context) == self.limit:
            self.texts.end()
            return "length"
        return None

    def chunk(self) -> Chunk | None:
        """The tokens decided since the last call; None if there is none."""
        texts = self.texts.take()
        if not texts:
            return None
        start, count = self.trail.given, len(texts)
        self.trail.given += count
        tokens, self._undecided = self._undecided[:count], self._undecided[count:]
        return chunk_of(self.request, start, tokens, texts)

    def cost(self) -> Ledger:
        """Its account so far: what was sampled and not given, or given and cut off again, is discarded."""
        return Ledger(
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            forced_tokens=self.forced_tokens,
            drawn_tokens=self.trail.given,
            discarded_tokens=self.sampled - self.trail.given,
            branches=1,
        )

"""Which tokens' KV is in which slot, so that none is computed twice."""

from collections.abc import Sequence

from lite.backends.base import Backend

__all__ = ["Slots", "common_prefix"]


def common_prefix(left: Sequence[int], right: Sequence[int], limit: int) -> int:
    """How many of the first `limit` tokens of two lists are equal, by halving: the comparisons are slices."""
    limit = min(limit, len(left), len(right))
    if left[:limit] == right[:limit]:
        return limit
    equal = 0
    while limit - equal > 1:
        middle = (equal + limit) // 2
        if left[equal:middle] == right[equal:middle]:
            equal = middle
        else:
            limit = middle
    return equal


class Slots:
    """The slots of a backend: busy ones, and free ones whose KV is kept until the room is needed.

    Of every slot it knows a token list, of which the slot holds all but the last token's KV (for a busy slot it is
    the branch's own growing context). Methods raise what the backend raises; the slot is then free and empty.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._tokens: list[list[int]] = [[] for _ in range(backend.spec.num_slots)]
        self._free = list(range(backend.spec.num_slots))  # longest free first

    @property
    def any_free(self) -> bool:
        return bool(self._free)

    def prepare(self, ids: list[int], limit: int) -> tuple[int, int]:
        """Put as much KV of ids[:limit] as any slot has into a free slot: (that slot, how many tokens it is).

        The slot holds exactly those tokens afterwards, and stays free until `occupy`.
        """
        target, source, shared = self._choose(ids, limit)
        self._tokens[target] = []
        if source == target and shared:
            self._backend.extend(target, shared, ())
            return target, shared
        self._backend.release(target)
        if shared:
            self._backend.fork(source, target, shared)
        return target, shared

    def occupy(self, slot: int, tokens: list[int]) -> None:
        """The slot now holds the KV of all of `tokens` but the last, and goes on holding it while the list grows."""
        self._free.remove(slot)
        self._tokens[slot] = tokens

    def free(self, slot: int) -> None:
        """The slot may be used by others; until then its KV can be shared."""
        self._free.append(slot)

    def forget(self) -> None:
        """All slots are free, and what is in them is not known."""
        self._tokens = [[] for _ in self._tokens]
        self._free = list(range(len(self._tokens)))

    def _choose(self, ids: list[int], limit: int) -> tuple[int, int, int]:
        """(free slot to use, slot to share from, tokens shared).

        A free slot of which all is shared goes on in place; else the one that was free longest gives way.
        """
        oldest = self._free[0]
        best, shared = oldest, self._shared(oldest, ids, limit)
        for slot in range(len(self._tokens)):
            if shared == limit:
                break
            length = self._shared(slot, ids, limit)
            if length > shared:
                best, shared = slot, length
        whole = shared == len(self._tokens[best]) - 1
        return (best if whole and best in self._free else oldest), best, shared

    def _shared(self, slot: int, ids: list[int], limit: int) -> int:
        tokens = self._tokens[slot]
        return common_prefix(tokens, ids, min(limit, len(tokens) - 1)) if tokens else 0

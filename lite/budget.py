"""How much one question may cost."""

import math
from dataclasses import dataclass

__all__ = ["Budget"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a flow may spend; None is no limit. Raises ValueError for a limit that is not above 0.

    When a limit is reached the flow's live branches end with the reason "budget", and so does, at once and free of
    cost, every branch that it asks for afterwards: the flow concludes from what it has, its best answer so far.

    `tokens` counts drawn tokens that the flow is given; a flow that needs no more than these is left alone. With
    it, a flow is given its tokens in lockstep, one for each live branch, in order of position and then of branch:
    what was drawn ahead is held back. So neither the size of chunks nor the order of arrival, the number of slots
    or the questions beside it change where the budget falls. What was drawn beyond it counts as discarded. Should
    twice the budget have been drawn, because some branches ran while others waited for a slot, none is let further
    ahead than its even share of what is left: this bounds the waste, and only then may the number of slots show.

    `seconds` and `money` are looked at after every step. What a remote branch costs is known when it has ended, so
    money may be overspent by the branches that were then under way.
    """

    tokens: int | None = None
    seconds: float | None = None  # wall time since the flow's start
    money: float | None = None  # in the currency of the remote sampler's prices

    def __post_init__(self) -> None:
        if self.tokens is not None and self.tokens < 1:
            raise ValueError(f"tokens must be at least 1 or None, got {self.tokens!r}")
        for name in ("seconds", "money"):
            limit = getattr(self, name)
            if limit is not None and not 0 < limit < math.inf:
                raise ValueError(f"{name} must be above 0 and finite, or None, got {limit!r}")

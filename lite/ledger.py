"""What an answer cost."""

from dataclasses import dataclass, fields

__all__ = ["Ledger"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """An honest account: every token that was computed is in exactly one of the token counts.

    `+` adds two accounts. Seconds are wall time of the whole run that the answer was part of.
    """

    prompt_tokens: int = 0  # prompt tokens that were computed
    cached_tokens: int = 0  # prompt, parent and prefix tokens whose KV was shared, or read from a file, not computed
    forced_tokens: int = 0  # prefix tokens: forced text, probes, scored continuations
    drawn_tokens: int = 0  # sampled tokens that the strategy was given
    discarded_tokens: int = 0  # sampled past a decision and thrown away
    branches: int = 0
    remote_calls: int = 0
    seconds: float = 0.0
    money: float = 0.0  # in the currency of the remote sampler's prices
    joules: float | None = None  # None where the machine does not tell

    def __add__(self, other: "Ledger") -> "Ledger":
        total = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self) if f.name != "joules"}
        known = [ledger.joules for ledger in (self, other) if ledger.joules is not None]
        return Ledger(**total, joules=sum(known) if known else None)

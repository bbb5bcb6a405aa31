"""What never leaves the machine: the user's own patterns, looked for in everything that a remote sampler would send.

    Privacy(patterns=(r"\\bproject heron\\b", r"[\\w.]+@example\\.org"))            # such a question is not sent at all
    Privacy(patterns=(r"[\\w.]+@example\\.org",), action="mask")                   # such a span is not sent

A pattern is also looked for in the text's compatibility form (NFKC), without invisible characters, and across the
borders of messages. What cannot be read, a prompt of token ids, is not sent while there is any pattern.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Privacy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """Regular expressions, case ignored. Raises ValueError for one that cannot be compiled, or that matches nothing.

    `withhold` sends no question that matches. `mask` puts [private 1], [private 2], ... in place of each matching
    span, the same number for the same span, and withholds a question that matches even then; the answer speaks of
    [private 1] too.
    """

    patterns: tuple[str, ...] = ()
    action: Literal["withhold", "mask"] = "withhold"

    def __post_init__(self) -> None:
        if isinstance(self.patterns, str):
            raise ValueError(f"patterns must be a tuple of regular expressions, got the text {self.patterns!r}")
        if self.action not in ("withhold", "mask"):
            raise ValueError(f"action must be 'withhold' or 'mask', got {self.action!r}")
        for pattern in self.patterns:
            try:
                matches_nothing = re.compile(pattern).search("") is not None
            except re.error as error:
                raise ValueError(f"privacy pattern {pattern!r} is no regular expression: {error}") from None
            if matches_nothing:
                raise ValueError(f"privacy pattern {pattern!r} matches the empty text, so everything: make it narrower")

    def matches(self, texts: Sequence[str]) -> bool:
        """Whether a pattern is found in one of the texts, or in all of them joined."""
        if not self.patterns:
            return False
        whole = "\n".join(texts)
        looks = (*texts, whole, "".join(texts), _plain(whole))
        return any(re.search(pattern, look, re.IGNORECASE) for pattern in self.patterns for look in looks)

    def cleared(self, texts: Sequence[str]) -> tuple[str, ...] | None:
        """The texts as they may be sent, in their order; None where they may not be sent at all."""
        if not self.matches(texts):
            return tuple(texts)
        if self.action == "withhold":
            return None
        numbers: dict[str, int] = {}
        masked = tuple(self._masked(text, numbers) for text in texts)
        return None if self.matches(masked) else masked

    def _masked(self, text: str, numbers: dict[str, int]) -> str:
        def placeholder(match: re.Match[str]) -> str:
            number = numbers.setdefault(match.group().casefold(), len(numbers) + 1)
            return f"[private {number}]"

        for pattern in self.patterns:
            text = re.sub(pattern, placeholder, text, flags=re.IGNORECASE)
        return text


def _plain(text: str) -> str:
    """The compatibility form without format characters, such as a zero-width space or a soft hyphen."""
    normal = unicodedata.normalize("NFKC", text)
    return "".join(character for character in normal if unicodedata.category(character) != "Cf")

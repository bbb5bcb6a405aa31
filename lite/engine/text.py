"""From drawn tokens to text: characters that span tokens, and stop strings that do."""

import codecs
from collections.abc import Callable, Sequence

__all__ = ["TokenTexts", "open_character"]

_LONGEST_OPEN_CHARACTER = 3  # bytes: a UTF-8 character has four at most


def open_character(ids: Sequence[int], token_bytes: Callable[[int], bytes]) -> bytes:
    """The bytes of a character that the text of `ids` has begun and not ended; b"" where it ends with a whole one."""
    tail = b""
    for token in reversed(ids):
        tail = token_bytes(token) + tail
        if len(tail) >= _LONGEST_OPEN_CHARACTER:
            break
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(tail[-_LONGEST_OPEN_CHARACTER:])
    return decoder.getstate()[0]


class TokenTexts:
    """One text a token, in order, each handed out once it is decided.

    A token is undecided while its bytes end in an incomplete character (its text will be "", the character goes to
    the token that completes it), or while its text may turn out to belong to a stop string. Bytes that are no UTF-8
    become U+FFFD. From a stop string on, texts are "". All of it depends on the tokens alone, not on how many are
    pushed between two calls of `take`.
    """

    def __init__(self, stops: Sequence[str] = (), begun: bytes = b"") -> None:
        self._stops = stops
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder.decode(begun)
        self._held: list[str] = []  # texts of the undecided tokens, after the decided ones
        self._ready = 0  # how many of them are decided
        self._open_since: int | None = 0 if begun else None  # the first of them whose character is incomplete

    def push(self, data: bytes) -> bool:
        """Take the next token's bytes; True if they complete a stop string: then nothing may be pushed any more."""
        text = self._decoder.decode(data)
        self._held.append(text)
        if not self._decoder.getstate()[0]:
            self._open_since = None
        elif text or self._open_since is None:
            self._open_since = len(self._held) - 1
        if self._stops and text and self._cut():
            return True
        self._ready = self._decided()
        return False

    def end(self) -> None:
        """No bytes follow: what is held is decided, and a character that stays incomplete becomes U+FFFD."""
        rest = self._decoder.decode(b"", final=True)
        if rest and self._held:
            self._held[-1] += rest
        self._stops = ()
        self._open_since = None
        self._ready = len(self._held)

    def take(self) -> tuple[str, ...]:
        """The texts of the tokens decided since the last call."""
        ready, self._ready = self._ready, 0
        texts = tuple(self._held[:ready])
        del self._held[:ready]
        if self._open_since is not None:
            self._open_since -= ready
        return texts

    def _cut(self) -> bool:
        """Blank everything from the first stop string on, if there is one."""
        text = "".join(self._held)
        found = [start for stop in self._stops if (start := text.find(stop)) >= 0]
        if not found:
            return False
        room = min(found)
        for index, held in enumerate(self._held):
            self._held[index] = held[:room]
            room -= len(self._held[index])
        self._ready = len(self._held)
        return True

    def _decided(self) -> int:
        """How many of the held tokens end before an incomplete character and before what may become a stop string."""
        limit = len(self._held) if self._open_since is None else self._open_since
        suspect = self._suspect() if self._stops else 0
        if not suspect:
            return limit
        safe = sum(map(len, self._held)) - suspect
        for index in range(limit):
            safe -= len(self._held[index])
            if safe < 0:
                return index
        return limit

    def _suspect(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        text = "".join(self._held)
        longest = 0
        for stop in self._stops:
            for length in range(min(len(stop) - 1, len(text)), longest, -1):
                if text.endswith(stop[:length]):
                    longest = length
                    break
        return longest

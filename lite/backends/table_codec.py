"""A tokenizer of bytes, for tests without a model."""

import re
from collections.abc import Sequence

from lite.params import Chat, Prompt
from lite.sampler import Traits

__all__ = ["ByteCodec"]

_SPECIALS = ("<end>", "<turn>", "<think>", "</think>")
_PADDING = 4


class ByteCodec:
    """One token a byte (ids 0-255), then specials, padding that is never drawn, and `words`.

    `encode` makes byte tokens and specials only: a text with a word in it, once drawn, encodes to other ids, which
    shows who re-tokenises what was drawn. Words may be any bytes, pieces of characters too.
    """

    end_id = 256

    def __init__(self, words: Sequence[bytes] = ()) -> None:
        self._ids = {text: 256 + index for index, text in enumerate(_SPECIALS)}
        self._special = re.compile("(" + "|".join(map(re.escape, _SPECIALS)) + ")")
        control = [b"", b"", b"<think>", b"</think>"]
        self._bytes = [bytes([byte]) for byte in range(256)] + control + [b""] * _PADDING + list(words)

    @property
    def vocab_size(self) -> int:
        return len(self._bytes)

    @property
    def traits(self) -> Traits:
        return Traits("<think>", "</think>")

    @property
    def end_ids(self) -> frozenset[int]:
        return frozenset((self.end_id,))

    @property
    def forbidden_ids(self) -> frozenset[int]:
        padding = 256 + len(_SPECIALS)
        return frozenset(range(padding, padding + _PADDING))

    def encode_prompt(self, prompt: Prompt) -> Sequence[int]:
        """Of a Chat: "<turn>role\\ncontent<end>" a message, "<turn>assistant\\n", an empty thought if it is closed."""
        if isinstance(prompt, Chat):
            turns = "".join(f"<turn>{message.role}\n{message.content}<end>" for message in prompt.messages)
            closed = "<think>\n\n</think>\n\n" if prompt.thinking is False else ""
            return self.encode(f"{turns}<turn>assistant\n{closed}")
        return self.encode(prompt) if isinstance(prompt, str) else prompt

    def encode(self, text: str) -> Sequence[int]:
        ids: list[int] = []
        for piece in self._special.split(text):
            special = self._ids.get(piece)
            ids += piece.encode() if special is None else (special,)
        return ids

    def token_bytes(self, token: int) -> bytes:
        return self._bytes[token]

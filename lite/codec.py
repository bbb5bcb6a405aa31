"""What the engine needs to know of a model's text: ids in, bytes out."""

from collections.abc import Sequence
from typing import Protocol

from lite.params import Prompt
from lite.sampler import Traits

__all__ = ["Codec"]


class Codec(Protocol):
    """A model's tokenizer and chat template, seen from the engine. Thread-safe; raises InvalidRequest."""

    @property
    def traits(self) -> Traits: ...
    @property
    def end_ids(self) -> frozenset[int]: ...  # end of turn, end of text: drawing one finishes the branch
    @property
    def forbidden_ids(self) -> frozenset[int]: ...  # padding rows and unused tokens: never drawn
    def encode_prompt(self, prompt: Prompt) -> Sequence[int]: ...  # a Chat is rendered with the model's own template
    def encode(self, text: str) -> Sequence[int]: ...  # forced text; special tokens such as </think> are recognised
    def token_bytes(self, token: int) -> bytes: ...  # b"" for control tokens; a character may span several tokens

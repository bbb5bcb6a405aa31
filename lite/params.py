"""What a branch is asked to go on from, and how its tokens are drawn."""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Chat", "Message", "Prompt", "SamplingParams"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation, rendered with the model's own template where it is sampled.

    `thinking` is the template's switch: False closes the thought before the first token (NoThinking), True asks
    for it, None leaves the template's own default.
    """

    messages: tuple[Message, ...]
    thinking: bool | None = None

    @classmethod
    def ask(cls, question: str, *, system: str = "", thinking: bool | None = None) -> "Chat":
        """A single question, after an optional system message."""
        head = (Message("system", system),) if system else ()
        return cls((*head, Message("user", question)), thinking)


Prompt: TypeAlias = Chat | str | tuple[int, ...]
"""A conversation, a text that is continued as it stands, or token ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How tokens are drawn. Raises ValueError for a value out of range.

    The filters act in the order that llama.cpp and vLLM users expect: penalties and bias on the raw logits, then
    top_k, top_p and min_p on the tempered distribution. Statistics are never touched by any of them.
    """

    max_tokens: int = 512
    temperature: float = 1.0  # 0 is greedy, ties to the lower id
    top_k: int = 0  # 0 is off
    top_p: float = 1.0  # 1 is off
    min_p: float = 0.0  # 0 is off; relative to the likeliest token
    repetition_penalty: float = 1.0  # arXiv:1909.05858, section 4.1; over prompt and completion
    presence_penalty: float = 0.0  # over the completion only
    frequency_penalty: float = 0.0  # over the completion only
    logit_bias: tuple[tuple[int, float], ...] = ()  # (token id, added logit); -inf forbids
    seed: int = 0
    stop: tuple[str, ...] = ()
    top_logprobs: int = 0  # how many of the likeliest tokens each Chunk reports

    def __post_init__(self) -> None:
        self._check("max_tokens", self.max_tokens, self.max_tokens >= 1, "at least 1")
        self._check("temperature", self.temperature, 0 <= self.temperature < math.inf, "0 (greedy) or above")
        self._check("top_k", self.top_k, self.top_k >= 0, "0 (off) or above")
        self._check("top_p", self.top_p, 0 < self.top_p <= 1, "in (0, 1]")
        self._check("min_p", self.min_p, 0 <= self.min_p <= 1, "in [0, 1]")
        positive = 0 < self.repetition_penalty < math.inf
        self._check("repetition_penalty", self.repetition_penalty, positive, "above 0 (1 is off)")
        for name in ("presence_penalty", "frequency_penalty"):
            self._check(name, getattr(self, name), math.isfinite(getattr(self, name)), "finite (0 is off)")
        self._check("seed", self.seed, 0 <= self.seed < 2**64, "in [0, 2**64)")
        self._check("top_logprobs", self.top_logprobs, 0 <= self.top_logprobs <= 64, "in [0, 64]")
        for token, bias in self.logit_bias:
            self._check("logit_bias", (token, bias), token >= 0 and bias < math.inf, "(token id, finite or -inf)")
        self._check("stop", self.stop, all(self.stop), "texts that are not empty")

    @staticmethod
    def _check(name: str, value: object, fine: bool, limit: str) -> None:
        if not fine:
            raise ValueError(f"{name} must be {limit}, got {value!r}")

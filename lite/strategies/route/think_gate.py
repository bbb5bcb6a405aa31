"""Think or not: the model itself, or a pattern, says whether a question needs a thought.

"When Thinking Fails" (arXiv:2505.11423) asks the model "does this need reasoning?" and lets it answer at once where
not, as a thought can make it miss plain instructions; "When to Reason" (the semantic router for vLLM) turns thinking on
by the question's category. Here the first is P(yes) against a threshold, exact and without a drawn token; the second a
regular expression, which decides where it is given.
"""

import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from lite.params import Chat
from lite.sampler import Ability, Command, Event, Flow, Question, Strategy
from lite.strategies.fields import setting
from lite.strategies.route.affirm import AFFIRM_NEEDS, affirmed
from lite.strategies.select.nothinking import NoThinking
from lite.strategies.select.self_certainty import SelfCertainty

__all__ = ["ThinkGate"]

_ASKED = "Does answering the following need step-by-step reasoning? Answer Yes or No.\n\n{question}"
_MOST_CHARACTERS = 4000  # of the question that the gate reads


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkGate:
    """The inner strategy with thinking on for what needs it, as NoThinking for the rest.

    A question of token ids cannot be read: it is left as it is. So is a plain text that is to be thought about.
    """

    paper: ClassVar[str] = "arXiv:2505.11423"
    cost: ClassVar[str] = "1 scored word, then the inner strategy's, with or without its thoughts"
    inner: Strategy = field(default_factory=SelfCertainty, metadata={"doc": "the strategy that answers"})
    threshold: float = setting(0.5, "think where P(yes) is at least this")
    pattern: str | None = setting(None, "think where this regular expression is found; auto: ask the model")
    sampler: str = setting("local", "which sampler is asked")

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise ValueError(f"pattern must be a regular expression, got {self.pattern!r}: {error}") from None

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        inner = dict(self.inner.needs)
        if not self.pattern:
            inner[self.sampler] = inner.get(self.sampler, frozenset()) | AFFIRM_NEEDS
        return inner

    def __call__(self, question: Question) -> Flow:
        text = _text(question)
        if text is None:
            return (yield from self.inner(question))
        if not (yield from self._is_to_think(text)):
            return (yield from NoThinking(inner=self.inner)(question))
        if isinstance(question.prompt, Chat):
            question = replace(question, prompt=replace(question.prompt, thinking=True))
        return (yield from self.inner(question))

    def _is_to_think(self, text: str) -> Generator[Sequence[Command], Sequence[Event], bool]:
        if self.pattern:
            return re.search(self.pattern, text, re.IGNORECASE) is not None
        asked = Chat.ask(_ASKED.format(question=text[-_MOST_CHARACTERS:]), thinking=False)
        probability = yield from affirmed(asked, self.sampler)
        return probability is None or probability >= self.threshold


def _text(question: Question) -> str | None:
    """What the user asks: the last thing that was said."""
    prompt = question.prompt
    if isinstance(prompt, Chat):
        return prompt.messages[-1].content if prompt.messages else ""
    return prompt if isinstance(prompt, str) else None

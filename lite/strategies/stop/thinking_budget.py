"""A thinking budget, and budget forcing (arXiv:2501.19393): a thought is ended, or prolonged, from outside.

A thought that reaches its budget is closed in the model's own tags, at once or where its sentence ends, and the model
writes its answer. Prolonging is off by default: a thought that ends before its minimum has its end taken back and
"Wait" put in its place, up to `extensions` times; it often does not help (arXiv:2505.17813).

It is all the same whether the prompt opens the thought or the model does, and of how many tokens the tag is.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import ClassVar

from lite.sampler import Ability, Flow, Question, Request, Strategy
from lite.strategies.branches import Branch
from lite.strategies.fields import setting
from lite.strategies.select.sample import Sample
from lite.strategies.stop.cuts import cut
from lite.strategies.stop.redirect import Turn, redirected
from lite.strategies.stop.thought import in_thought, thought_closing, traits_of

__all__ = ["ThinkingBudget"]

_SENTENCE_END = re.compile(r"(?:[!?…]|(?<!\d)\.|\d\.(?=\s))[)\]\"'*”’]*\s*\Z|\n\s*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkingBudget:
    """Bounds how long each thought may be; the inner strategy samples and decides.

    Tokens are counted from the first drawn one. What does not think is left alone; to think not at all is NoThinking.
    """

    paper: ClassVar[str] = "arXiv:2501.19393"
    cost: ClassVar[str] = "the inner strategy's samples, each thought at most the budget"
    inner: Strategy = field(default_factory=Sample, metadata={"doc": "the strategy that samples and decides"})
    budget: int = setting(512, "the most tokens of a thought")
    grace: int = setting(0, "tokens beyond the budget in which a thought may end its sentence; 0: it is cut at once")
    cue: str | None = setting(None, "what is said after a thought that was cut, such as Final Answer:; auto: nothing")
    minimum: int = setting(0, "tokens before which a thought that ends is prolonged, if extensions allow")
    extensions: int = setting(0, "how often a thought is prolonged at most; 0: never")
    extend: str = setting("Wait", "what prolongs it")

    def __post_init__(self) -> None:
        if self.budget < 1:
            raise ValueError(f"budget must be at least 1, got {self.budget}: to skip the thought, use nothinking")
        for name in ("grace", "minimum", "extensions"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or above, got {getattr(self, name)}")
        if self.minimum > self.budget:
            raise ValueError(f"minimum must be at most the budget of {self.budget}, got {self.minimum}")
        if self.extensions and not self.extend:
            raise ValueError("extend must be a text that prolongs a thought, got nothing")

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        turning: frozenset[Ability] = frozenset({"prefix", "fork"})
        return {sampler: abilities | turning for sampler, abilities in self.inner.needs.items()}

    def __call__(self, question: Question) -> Flow:
        return redirected(self.inner(question), lambda request: (request, _Bounds(question, request, self)))


class _Bounds:
    """The director of one branch."""

    def __init__(self, question: Question, request: Request, settings: ThinkingBudget) -> None:
        self._question = question
        self._request = request
        self._settings = settings
        self._close = traits_of(question, request).think_close
        self._text = ""  # of the branch before this stretch
        self._tokens = 0
        self._extensions = settings.extensions
        self._is_done = not self._close

    def turn(self, stretch: Branch) -> Turn | None:
        if self._is_done:
            return None
        limit = self._limit(stretch)
        is_beyond = limit is not None and stretch.tokens > limit
        seen = cut(stretch, limit) if is_beyond and limit is not None else stretch
        ending = self._ending(seen)
        if ending is not None:
            return self._prolonged(stretch, ending)
        self._is_done = is_beyond or stretch.finished is not None
        return self._closed(seen) if is_beyond else None

    def settled(self, stretch: Branch) -> int:
        """All but what may be the beginning of an end that is to be taken back."""
        return stretch.tokens if self._is_done else self._before_tag(stretch)

    def _closed(self, thought: Branch) -> Turn | None:
        """Close the thought here, if it is one."""
        at = self._before_tag(thought)
        text = self._text + "".join(thought.texts[:at])
        closing = thought_closing(self._question, self._request, text)
        return self._to(thought, at, closing + (self._settings.cue or "")) if closing else None

    def _before_tag(self, stretch: Branch) -> int:
        """The tokens before a closing tag that the text may have begun."""
        text = "".join(stretch.texts)
        begun = next((k for k in range(len(self._close) - 1, 0, -1) if text.endswith(self._close[:k])), 0)
        return _whole_tokens(stretch, len(text) - begun)

    def _limit(self, stretch: Branch) -> int | None:
        """Where the stretch is to be cut if it still thinks there; None while a sentence is waited for."""
        first = max(0, self._settings.budget - self._tokens)
        last = first + self._settings.grace
        for at in range(first, min(last, stretch.tokens) + 1):
            if at == last or _SENTENCE_END.search("".join(stretch.texts[max(0, at - 8) : at])):
                return at
        return None

    def _ending(self, stretch: Branch) -> int | None:
        """The tokens before the thought's own end in this stretch."""
        text = "".join(stretch.texts)
        if self._close in text:
            return _whole_tokens(stretch, text.index(self._close))
        if stretch.reason == "eos" and in_thought(self._question, self._request, self._text + text):
            return stretch.tokens - 1
        return None

    def _prolonged(self, stretch: Branch, ending: int) -> Turn | None:
        """Take the end back where the thought is too short; else it is over."""
        if not self._extensions or self._tokens + ending >= self._settings.minimum:
            self._is_done = True
            return None
        self._extensions -= 1
        turn = self._to(stretch, ending, self._settings.extend)
        self._text += "".join(stretch.texts[:ending]) + turn.prefix
        self._tokens += ending
        return turn

    def _to(self, stretch: Branch, at: int, prefix: str) -> Turn:
        params = stretch.request.params
        return Turn(at, prefix, replace(params, max_tokens=max(1, params.max_tokens - at)))


def _whole_tokens(branch: Branch, characters: int) -> int:
    """How many tokens end within the first `characters`, and before any empty ones that follow."""
    lengths = list(accumulate(map(len, branch.texts)))
    count = bisect_right(lengths, characters)
    while count and not branch.texts[count - 1]:
        count -= 1
    return count

"""Where the steps of a text end, as token positions."""

import re
from bisect import bisect_left
from collections.abc import Sequence

__all__ = ["StepEnds", "check_steps"]

_ENDS = {
    "sentence": r"[.!?]+[)\]\"'*”’]*(?=\s)|\n",
    "line": r"\n",
    "paragraph": r"\n\s*\n",
    "reflection": r"(?i)(?:\n|[.!?](?= ))(?=\s*(?:(?:so|but|now|okay),?\s+)?(?:let me|let's|i should)?\s*"
    r"(?:double-check|check|verify|wait|hmm|hold on|alternatively)\W)",
}


class StepEnds:
    """Finds the ends of steps while the tokens come; where they are does not depend on how many come at a time.

    A step ends after a sentence (or line), a line, a paragraph, every token, or a text of the caller's own; or where a
    sentence begins that turns to checking or doubts ("Check", "Wait", "Let me verify"): arXiv:2505.17155 splits
    thoughts there. Steps of white space do not count, and of the rest every `every`-th does.
    """

    def __init__(self, step: str, every: int) -> None:
        self._pattern = None if step == "token" else re.compile(_ENDS.get(step, re.escape(step)))
        self._every = every
        self._num_steps = 0
        self._num_tokens = 0
        self._reported = 0
        self._found: list[int] = []
        self._text = ""  # since the last end
        self._offset = 0  # characters before it
        self._lengths: list[int] = []  # characters after each token

    def read(self, texts: Sequence[str]) -> list[int]:
        """The ends that have become certain, given all tokens so far. An end is certain once a token follows it."""
        new = texts[self._num_tokens :]
        self._num_tokens = len(texts)
        if self._pattern is None:
            self._found += range(len(self._lengths) + 1, len(texts) + 1)
            self._lengths += [0] * len(new)
        else:
            self._search(self._pattern, new)
        certain = [p for p in self._found if p < len(texts)]
        self._found = self._found[len(certain) :]
        steps = range(self._num_steps + 1, self._num_steps + len(certain) + 1)
        self._num_steps += len(certain)
        return [p for step, p in zip(steps, certain, strict=True) if step % self._every == 0]

    def _search(self, pattern: re.Pattern[str], new: Sequence[str]) -> None:
        for text in new:
            self._text += text
            self._lengths.append(self._offset + len(self._text))
        while match := self._next(pattern):
            self._offset += match.end()
            self._text = self._text[match.end() :]
            position = bisect_left(self._lengths, self._offset) + 1
            if position > self._reported:
                self._reported = position
                self._found.append(position)

    def _next(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """The first end of a step that is not empty."""
        return next((m for m in pattern.finditer(self._text) if self._text[: m.end()].strip()), None)


def check_steps(step: str, every: int) -> None:
    """Raises ValueError for no separator and for fewer than one step."""
    if not step:
        raise ValueError("step must be one of those named, or a text that ends a step, got nothing")
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every}")

"""A model's thought told from its answer, by the tags that the model's own description names."""

from typing import Literal

from lite.sampler import Traits

__all__ = ["ThoughtFilter", "split_thought"]


def split_thought(text: str, traits: Traits) -> tuple[str, str]:
    """The thought and what follows it; no thought where none was closed."""
    thought, closed, answer = text.rpartition(traits.think_close) if traits.think_close else ("", "", text)
    return thought.strip().removeprefix(traits.think_open).strip() if closed else "", answer.strip()


class ThoughtFilter:
    """Splits a text that comes in pieces. A tag may span pieces: what may become one is held back.

    `opened`: the text begins in a thought that the prompt has opened.
    """

    def __init__(self, traits: Traits, *, opened: bool = False) -> None:
        self._open = traits.think_open
        self._close = traits.think_close
        self._held = ""
        self._state: Literal["start", "thought", "gap", "answer"] = (
            "thought" if opened and self._close else "start" if self._open else "gap"
        )

    @property
    def is_open(self) -> bool:
        """Whether the thought has not ended."""
        return self._state == "thought"

    def push(self, piece: str) -> tuple[str, str]:
        """The next piece of the thought and of the answer, either of them empty."""
        self._held += piece
        self._leave_start()
        thought = self._take_thought()
        self._leave_gap()
        answer, self._held = (self._held, "") if self._state == "answer" else ("", self._held)
        return thought, answer

    def _leave_start(self) -> None:
        text = self._held.lstrip()
        if self._state != "start" or (self._open.startswith(text) and text != self._open):
            return
        thinks = text.startswith(self._open)
        self._held = text.removeprefix(self._open)
        self._state = "thought" if thinks else "gap"

    def _take_thought(self) -> str:
        if self._state != "thought":
            return ""
        thought, closed, rest = self._held.partition(self._close)
        if closed:
            self._held, self._state = rest, "gap"
            return thought
        kept = len(thought) - _overlap(thought, self._close)
        self._held = thought[kept:]
        return thought[:kept]

    def _leave_gap(self) -> None:
        """Empty lines before the answer are not shown."""
        if self._state == "gap" and (text := self._held.lstrip()):
            self._held, self._state = text, "answer"


def _overlap(text: str, tag: str) -> int:
    """How many characters at the text's end may be the beginning of the tag."""
    return next((size for size in range(min(len(text), len(tag) - 1), 0, -1) if tag.startswith(text[-size:])), 0)

"""Whether a branch is in its thought, and the text that closes it, in the tags of the model that draws.

A thought is opened by the model itself, and then its tag is the first of the text; or by the prompt, and then it is
not in the text. Which of the two holds for a conversation that may think, its sampler tells by `Traits.think_opened`,
and where it does not, the conversation is taken to begin in a thought. A text prompt begins in one if its last tag
opens one.
"""

from lite.params import Chat
from lite.sampler import Question, Request, Traits

__all__ = ["closing_cue", "has_closed", "in_thought", "thought_closing", "traits_of"]


def traits_of(question: Question, request: Request) -> Traits:
    """Of the sampler that draws the request; without tags where it was not told."""
    return question.models.get(request.sampler, Traits())


def in_thought(question: Question, request: Request, text: str) -> bool:
    """Whether a thought is open after the request has drawn this text."""
    traits = traits_of(question, request)
    if not traits.think_close:
        return False
    opened = text.rfind(traits.think_open) if traits.think_open else -1
    closed = text.rfind(traits.think_close)
    if opened < 0 and closed < 0:
        return _begins_in_thought(request, traits, text)
    return opened > closed


def has_closed(question: Question, request: Request, text: str) -> bool:
    """Whether the text has a thought that has ended."""
    close = traits_of(question, request).think_close
    return bool(close) and close in text and not in_thought(question, request, text)


def thought_closing(question: Question, request: Request, text: str) -> str:
    """What is to be forced after the text so that the answer follows; "" outside a thought."""
    if not in_thought(question, request, text):
        return ""
    line = "" if not text or text.endswith("\n") else "\n"
    return f"{line}{traits_of(question, request).think_close}\n\n"


def closing_cue(question: Question, request: Request, text: str, cue: str) -> str:
    """What makes a branch say its answer now: its thought is closed, then the cue follows."""
    closing = thought_closing(question, request, text)
    apart = closing or not text or text[-1].isspace() or cue[:1].isspace()
    return closing + ("" if apart else " ") + cue


def _begins_in_thought(request: Request, traits: Traits, text: str) -> bool:
    """`text` holds no whole tag; where it may become the opening one it counts as that."""
    prompt, said = request.prompt, request.prefix
    if traits.think_close in said or (traits.think_open and traits.think_open in said):
        return said.rfind(traits.think_open) > said.rfind(traits.think_close)
    if isinstance(prompt, Chat):
        may_open = traits.think_opened is not False or traits.think_open.startswith((said + text).lstrip())
        return prompt.thinking is not False and may_open
    if isinstance(prompt, str) and traits.think_open:
        return prompt.rfind(traits.think_open) > prompt.rfind(traits.think_close)
    return False

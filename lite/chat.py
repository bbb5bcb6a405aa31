"""From a conversation to token ids, with the model's own chat template."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from lite.errors import InvalidRequest, LiteError, ModelError
from lite.models import THINKING_SWITCH, ModelFile, has_thinking_switch, think_tags
from lite.params import Chat, Message, Prompt
from lite.sampler import Traits
from lite.tokens import Tokenizer

if TYPE_CHECKING:
    from lite.template import ChatTemplate
    from lite.tokenizer_json import JsonTokenizer

__all__ = ["ChatCodec"]

_FINISHED_THOUGHT = "\nOkay, I think I have finished thinking.\n"  # NoThinking, arXiv:2504.09858, section 2


class ChatCodec:
    """A model file's tokenizer and chat template: the `Codec` of the engines that run it. Thread-safe.

    Raises ModelError at once for a tokenizer that cannot be read, and for a template where one is first needed.
    A model without a template gets plain text: the system message, then "User: ..." and "Assistant: ..." by turns.
    """

    def __init__(self, file: ModelFile, tokenizer: "Tokenizer | JsonTokenizer | None" = None) -> None:
        """`tokenizer` is the file's own where its metadata hold none."""
        self._path = file.path
        self._source = _template_source(file)
        self.tokenizer = tokenizer or Tokenizer.from_gguf(file)
        padding = range(len(self.tokenizer.tokens), file.config.vocab_size)
        self._forbidden_ids = self.tokenizer.unused_ids.union(padding)
        self._think_tags = think_tags(self._source)
        ids = self.tokenizer.ids
        self._tag_bytes = {ids[tag]: tag.encode() for tag in self._think_tags if tag in ids}

    @cached_property
    def traits(self) -> Traits:
        return Traits(*self._think_tags, self._opens_thought())

    @property
    def end_ids(self) -> frozenset[int]:
        return self.tokenizer.end_ids

    @property
    def forbidden_ids(self) -> frozenset[int]:
        return self._forbidden_ids

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """Token ids to go on from, at least one. A text is continued as it stands, special tokens in it count.

        In a Chat they do not: a message that spells "<|im_end|>" ends no turn.
        """
        if isinstance(prompt, Chat):
            ids = self._encode_chat(prompt)
        elif isinstance(prompt, str):
            ids = self.tokenizer.encode(prompt, special=True, start=True)
        else:
            ids = self._checked(prompt)
        if not ids:
            raise InvalidRequest(
                "the prompt is empty, it must have at least one token; give the model something to read"
            )
        return ids

    def encode(self, text: str) -> list[int]:
        """Forced text in the middle of a sequence; special tokens such as </think> are recognised."""
        return self.tokenizer.encode(text, special=True)

    def token_bytes(self, token: int) -> bytes:
        """Of a think tag its text even if it is a control token, which else has none: it is looked for in the text."""
        return self._tag_bytes.get(token) or self.tokenizer.token_bytes(token)

    def render(self, chat: Chat) -> str:
        """The text that a conversation becomes, ready for the model's answer."""
        return self._render(chat.messages, chat.thinking)

    def _encode_chat(self, chat: Chat) -> list[int]:
        """A character that occurs nowhere breaks the control tokens in messages, and is dropped from the text after."""
        everything = {self._source, *(message.content for message in chat.messages)}
        mark = next(
            mark for mark in map(chr, range(0x10FFFD, 0xE000, -1)) if not any(mark in text for text in everything)
        )
        messages = [Message(message.role, self._broken(message, mark)) for message in chat.messages]
        return self.tokenizer.encode(self._render(messages, chat.thinking), special=True, start=True, drop=mark)

    def _broken(self, message: Message, mark: str) -> str:
        """Templates look for think tags in former answers, to leave the thoughts out: there they stay whole."""
        spared = {*self._think_tags} if message.role == "assistant" else set()
        return self.tokenizer.control_pattern.sub(
            lambda found: found[0] if found[0] in spared else found[0][0] + mark + found[0][1:], message.content
        )

    def _render(self, messages: Sequence[Message], thinking: bool | None) -> str:
        if not messages:
            raise InvalidRequest("the conversation is empty, it must have at least one message")
        if self._template is None:
            return _plain(messages)
        switch = {} if thinking is None or not has_thinking_switch(self._source) else {THINKING_SWITCH: thinking}
        try:
            text = self._template.render(
                [{"role": message.role, "content": message.content} for message in messages],
                add_generation_prompt=True,
                bos_token=self._text_of(self.tokenizer.bos),
                eos_token=self._text_of(self.tokenizer.eos),
                **switch,
            )
        except ModelError as error:
            raise ModelError(f"{self._path}: {error}") from None
        return text + self._closed_thought(text) if thinking is False and not switch else text

    def _closed_thought(self, text: str) -> str:
        """What closes the thought before the answer where the template has no switch for it; "" without think tags."""
        opened, closed = self._think_tags
        if not closed:
            return ""
        if not text.rstrip().endswith(opened):
            return f"{opened}{_FINISHED_THOUGHT}{closed}\n\n"
        return f"{_FINISHED_THOUGHT.removeprefix(text[len(text.rstrip()) :])}{closed}\n\n"

    def _opens_thought(self) -> bool | None:
        """Whether the template ends its prompt with the opening tag; None where its switch decides, or it fails."""
        opened, _ = self._think_tags
        if not opened:
            return None
        try:
            ends = {self._render([Message("user", "?")], thinking).rstrip() for thinking in (None, True)}
        except LiteError:
            return None
        found = {text.endswith(opened) for text in ends}
        return found.pop() if len(found) == 1 else None

    @cached_property
    def _template(self) -> "ChatTemplate | None":
        from lite.template import ChatTemplate

        try:
            return ChatTemplate(self._source) if self._source else None
        except ModelError as error:
            raise ModelError(f"{self._path}: {error}") from None

    def _text_of(self, token: int | None) -> str:
        return "" if token is None else self.tokenizer.tokens[token]

    def _checked(self, ids: Sequence[int]) -> list[int]:
        limit = len(self.tokenizer.tokens)
        for token in ids:
            if not 0 <= token < limit:
                raise InvalidRequest(f"token id {token} is out of range, this model has the ids 0 to {limit - 1}")
        return list(ids)


def _template_source(file: ModelFile) -> str:
    source = file.metadata.get("tokenizer.chat_template", "")
    if not isinstance(source, str):
        raise ModelError(f"{file.path}: tokenizer.chat_template must be a text")
    return source


def _plain(messages: Sequence[Message]) -> str:
    names = {"system": "", "user": "User: ", "assistant": "Assistant: "}
    turns = "\n\n".join(names[message.role] + message.content for message in messages)
    return f"{turns}\n\nAssistant:"

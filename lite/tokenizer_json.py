"""Text to token ids and back, from the `tokenizer.json` that Hugging Face's folders carry.

The `tokenizers` library reads it; what it says of byte-level and SentencePiece decoders tells a token's bytes.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lite.errors import ModelError
from lite.tokens import BYTE_CHARACTERS, END_TOKENS, refuse_surrogates

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Library

__all__ = ["JsonTokenizer"]

_SPACE = "▁"  # SentencePiece's stand-in
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_BYTE_LEVEL, _PIECES = "ByteLevel", frozenset({"ByteFallback", "Metaspace", "Replace"})


@dataclass(frozen=True)
class JsonTokenizer:
    """A folder's tokenizer, with the face of `lite.tokens.Tokenizer`. Immutable, thread-safe."""

    tokens: tuple[str, ...]  # by id, as the file spells them; "" where there is none
    control: Mapping[str, int]  # tokens that end turns and the like; they have no text
    named: Mapping[str, int]  # found in text before anything is split: <think>
    bos: int | None
    eos: int | None
    end_ids: frozenset[int]  # drawing one of these ends the turn or the text
    _first: tuple[int, ...] = field(repr=False)  # what the library puts before a text
    _is_byte_level: bool = field(repr=False)
    _start: "Library" = field(repr=False)
    _middle: "Library" = field(repr=False)  # the same, without a space in front
    _after_control: "Library" = field(repr=False)  # one of the two, for what follows a control token

    @classmethod
    def parse(
        cls, text: str, *, bos: str | int | None, eos: str | int | None, ends: Iterable[int], add_bos: bool = False
    ) -> "JsonTokenizer":
        """`bos` and `eos` by text or id, `ends` as configurations name them. Raises ModelError, which names no file.

        With `add_bos` a tokenizer whose own post-processing puts nothing in front of a text gets BOS there.
        """
        layout = _layout(text)
        bare = _without_space(layout)
        start = _loaded(text)
        middle = start if bare == layout else _loaded(json.dumps(bare))
        added = start.get_added_tokens_decoder()
        ids = start.get_vocab(with_added_tokens=True)
        control = {token.content: number for number, token in added.items() if token.special}
        known = {number for content, number in ids.items() if content in END_TOKENS and number in added}
        first, last = _number(bos, ids), _number(eos, ids)
        return cls(
            tokens=_by_id(ids),
            control=control,
            named={token.content: number for number, token in added.items() if not token.special},
            bos=first,
            eos=last,
            end_ids=frozenset({*ends, *known, *([] if last is None else [last])} & set(ids.values())),
            _first=(first,) if add_bos and first is not None and not _has_template(layout) else _put_in_front(start),
            _is_byte_level=_is_byte_level(layout),
            _start=start,
            _middle=middle,
            _after_control=start if _puts_space_after_control(start, control) else middle,
        )

    @cached_property
    def ids(self) -> Mapping[str, int]:
        """From a token's text, as the file spells it, to its id."""
        return {text: token for token, text in enumerate(self.tokens) if text}

    @cached_property
    def unused_ids(self) -> frozenset[int]:
        return frozenset(token for token, text in enumerate(self.tokens) if not text)

    @cached_property
    def control_pattern(self) -> re.Pattern[str]:
        """Matches the text of a control token; the longest wins where several begin."""
        texts = sorted((text for text in self.control if len(text) > 1), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, texts)) or r"(?!)")

    def encode(self, text: str, *, special: bool = False, start: bool = False, drop: str = "") -> list[int]:
        """The ids of `text`, as `lite.tokens.Tokenizer.encode` gives them. Raises InvalidRequest."""
        refuse_surrogates(text)
        ids: list[int] = []
        library = self._start if start else self._middle
        for piece in self._pieces(text) if special else [text]:
            if special and piece in self.control:
                ids.append(self.control[piece])
                library = self._after_control if start else self._middle
                continue
            plain = piece.replace(drop, "") if drop else piece
            ids += library.encode(plain, add_special_tokens=False).ids
            library = self._middle
        first = list(self._first) if start else []
        return ids if ids[: len(first)] == first else first + ids

    def token_bytes(self, token: int) -> bytes:
        """The bytes a token stands for: b"" for control tokens and padding, part of a character perhaps."""
        if not 0 <= token < len(self.tokens):
            return b""
        text = self.tokens[token]
        if text in self.control or text in self.named:
            return b"" if text in self.control else text.encode()
        if self._is_byte_level:
            known = BYTE_CHARACTERS.keys() >= set(text)
            return bytes(map(BYTE_CHARACTERS.__getitem__, text)) if known else text.encode()
        byte = _BYTE.fullmatch(text)
        return bytes([int(byte[1], 16)]) if byte else text.replace(_SPACE, " ").encode()

    def _pieces(self, text: str) -> Iterator[str]:
        """Control tokens, and what lies between."""
        position = 0
        for match in self.control_pattern.finditer(text):
            if match.start() > position:
                yield text[position : match.start()]
            yield match[0]
            position = match.end()
        if position < len(text):
            yield text[position:]


def _layout(text: str) -> dict[str, Any]:
    try:
        layout = json.loads(text)
    except ValueError as error:
        raise ModelError(f"it is no JSON: {error}") from None
    if not isinstance(layout, dict):
        raise ModelError("it is no JSON object")
    return layout


def _loaded(text: str) -> "Library":
    """With the texts of control tokens left as text. Raises ModelError for what the library does not take."""
    from tokenizers import Tokenizer as Library

    try:
        library = Library.from_str(text)
    except Exception as error:  # noqa: BLE001  # the library raises nothing narrower
        raise ModelError(f"the tokenizers library does not take it: {' '.join(str(error).split())[:200]}") from None
    library.encode_special_tokens = True
    library.no_padding()
    library.no_truncation()
    return library


def _without_space(layout: dict[str, Any]) -> dict[str, Any]:
    """The same tokenizer in the middle of a text."""
    return layout | {
        "normalizer": _changed(layout.get("normalizer"), _nothing_in_front),
        "pre_tokenizer": _changed(layout.get("pre_tokenizer"), _nothing_in_front),
    }


def _nothing_in_front(part: dict[str, Any]) -> dict[str, Any] | None:
    if part.get("type") == "Prepend":
        return None
    return part | {"prepend_scheme": "never"} if part.get("type") == "Metaspace" else part


def _changed(part: Any, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Any:
    """Every part of a sequence, and of sequences in it."""
    if not isinstance(part, dict):
        return part
    for name in ("normalizers", "pretokenizers"):
        if isinstance(part.get(name), list):
            changed = [_changed(one, change) for one in part[name]]
            return part | {name: [one for one in changed if one is not None]}
    return change(part)


def _is_byte_level(layout: dict[str, Any]) -> bool:
    """Whether tokens spell bytes with stand-ins, else they are SentencePiece's. Raises ModelError for others."""
    decoder = layout.get("decoder")
    parts = decoder.get("decoders", [decoder]) if isinstance(decoder, dict) else []
    kinds = {str(part.get("type")) for part in parts if isinstance(part, dict)}
    if not kinds & {_BYTE_LEVEL, *_PIECES}:
        shown = ", ".join(sorted(kinds)) or "none"
        raise ModelError(f"its decoder ({shown}) is not supported, only ByteLevel and those of SentencePiece are")
    return _BYTE_LEVEL in kinds


def _by_id(ids: Mapping[str, int]) -> tuple[str, ...]:
    tokens = [""] * (max(ids.values(), default=-1) + 1)
    for text, token in ids.items():
        tokens[token] = text
    return tuple(tokens)


def _has_template(layout: Mapping[str, Any]) -> bool:
    """Whether its post-processing says what special tokens stand around a text."""
    block = layout.get("post_processor") or {}
    return any(part.get("type") == "TemplateProcessing" for part in block.get("processors", [block]))


def _put_in_front(library: "Library") -> tuple[int, ...]:
    """The ids, such as BOS, that the library's own post-processing puts before a text."""
    bare = library.encode("a", add_special_tokens=False).ids
    whole = library.encode("a", add_special_tokens=True).ids
    place = next((i for i in range(len(whole)) if whole[i : i + len(bare)] == bare), 0)
    return tuple(whole[:place])


def _puts_space_after_control(library: "Library", control: Mapping[str, int]) -> bool:
    """Whether a text after a control token begins as at the start; a tokenizer without either does not differ."""
    library.encode_special_tokens = False
    first = library.encode("a", add_special_tokens=False).ids
    after = library.encode(next(iter(control), "") + "a", add_special_tokens=False).ids
    library.encode_special_tokens = True
    return bool(after[-len(first) :] == first)


def _number(token: str | int | None, ids: Mapping[str, int]) -> int | None:
    """Of a token by text or number; None where there is no such token."""
    number = ids.get(token) if isinstance(token, str) else token
    return number if number in ids.values() else None

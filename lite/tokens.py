"""Text to token ids and back, from the vocabulary that a GGUF file carries.

Two families: byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM), through the `tokenizers` library, and SentencePiece
vocabularies with scores and byte fallback (Llama 2, Mistral, TinyLlama). Where conventions differ llama.cpp's are
followed, so no Unicode normalisation is applied.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from heapq import heappop, heappush
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from lite.errors import InvalidRequest, ModelError
from lite.models import ModelFile
from lite.pre_tokenizers import PRE_TOKENIZERS, PreTokenizer

__all__ = ["BYTE_CHARACTERS", "END_TOKENS", "TokenType", "Tokenizer", "refuse_surrogates"]

if TYPE_CHECKING:
    from tokenizers import pre_tokenizers

Item = TypeVar("Item")
Encoder: TypeAlias = Callable[[str], list[int]]

END_TOKENS = frozenset(
    {"<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|endoftext|>", "<|end_of_text|>", "<|end|>", "<end_of_turn>"}
    | {"<end_of_utterance>", "</s>", "<eos>", "<EOT>", "<｜end▁of▁sentence｜>"}
)
"""Special tokens that end a turn or a text whatever a file says."""
_MAX_SPECIAL = 1 << 16
_SPACE = "▁"  # SentencePiece's stand-in


class TokenType(IntEnum):
    """What a token is, by GGUF's numbers."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3  # ends turns and the like; has no text
    USER_DEFINED = 4  # found in text before anything is split: <think>, <tool_call>
    UNUSED = 5
    BYTE = 6  # <0x0A> of SentencePiece


@dataclass(frozen=True)
class Tokenizer:
    """A model's tokenizer. Immutable, thread-safe."""

    model: str  # "gpt2" (byte-level BPE) or "llama" (SentencePiece)
    pre: str  # the pre-tokenizer as the file names it: "llama-bpe", "qwen2"; "" for SentencePiece
    tokens: tuple[str, ...]  # by id, as the file spells them
    types: tuple[int, ...]
    bos: int | None
    eos: int | None
    add_bos: bool
    end_ids: frozenset[int]  # drawing one of these ends the turn or the text
    _space_prefix: bool = field(repr=False)
    _encode: Encoder = field(repr=False)

    @classmethod
    def from_gguf(cls, file: ModelFile) -> "Tokenizer":
        """Build it from the metadata. Raises ModelError for a tokenizer that is not known by name, or is damaged."""
        try:
            return _build(cls, file)
        except ModelError as error:
            raise ModelError(f"{file.path}: {error}") from None

    @cached_property
    def ids(self) -> Mapping[str, int]:
        """From a token's text, as the file spells it, to its id."""
        return {text: token for token, text in enumerate(self.tokens)}

    @cached_property
    def unused_ids(self) -> frozenset[int]:
        return frozenset(token for token, kind in enumerate(self.types) if kind == TokenType.UNUSED)

    @cached_property
    def control_pattern(self) -> re.Pattern[str]:
        """Matches the text of a control token. Tokens of a single character are never looked for in text."""
        return self._pattern({TokenType.CONTROL})

    def encode(self, text: str, *, special: bool = False, start: bool = False, drop: str = "") -> list[int]:
        """The ids of `text`. Raises InvalidRequest for text that has no ids.

        Tokens of type USER_DEFINED, such as <think>, are always recognised, control tokens only if `special`.
        `start`: the text begins a sequence, so it gets what the model wants there: BOS, and SentencePiece's space.
        `drop`: a character that is taken out after the special tokens have been found (it keeps a control token
        in somebody's text from being recognised).

        Without `start`, and without a control token recognised, joining `token_bytes` gives the UTF-8 bytes of the
        text back, except that SentencePiece reads "▁" (U+2581) as a space.
        """
        refuse_surrogates(text)
        ids: list[int] = []
        spaced = start and self._space_prefix
        for piece, token in self._pieces(text, special):
            if token is not None:
                ids.append(token)
                spaced = start and self._space_prefix and self.types[token] == TokenType.CONTROL
                continue
            plain = piece.replace(drop, "") if drop else piece
            ids += self._encode(" " + plain if spaced else plain)
            spaced = False
        if start and self.add_bos and self.bos is not None and ids[:1] != [self.bos]:
            ids.insert(0, self.bos)
        return ids

    def token_bytes(self, token: int) -> bytes:
        """The bytes a token stands for: b"" for control tokens and padding, part of a character perhaps."""
        if not 0 <= token < len(self.tokens):
            return b""
        text, kind = self.tokens[token], self.types[token]
        if kind in (TokenType.CONTROL, TokenType.UNKNOWN, TokenType.UNUSED):
            return b""
        if kind == TokenType.USER_DEFINED:
            return text.encode()
        if self.model == "llama":
            return bytes([int(text[3:5], 16)]) if kind == TokenType.BYTE else text.replace(_SPACE, " ").encode()
        return bytes(map(BYTE_CHARACTERS.__getitem__, text)) if BYTE_CHARACTERS.keys() >= set(text) else text.encode()

    def _pieces(self, text: str, special: bool) -> Iterator[tuple[str, int | None]]:
        """Split at special tokens: (text, its id or None for ordinary text)."""
        pattern = self._all_special if special else self._user_defined
        position = 0
        for match in pattern.finditer(text):
            if match.start() > position:
                yield text[position : match.start()], None
            yield match[0], self.ids[match[0]]
            position = match.end()
        if position < len(text):
            yield text[position:], None

    @cached_property
    def _all_special(self) -> re.Pattern[str]:
        return self._pattern({TokenType.CONTROL, TokenType.USER_DEFINED})

    @cached_property
    def _user_defined(self) -> re.Pattern[str]:
        return self._pattern({TokenType.USER_DEFINED})

    def _pattern(self, kinds: set[int]) -> re.Pattern[str]:
        """The longest token wins where several begin; without any, the pattern matches nothing."""
        texts = {text for text, kind in zip(self.tokens, self.types, strict=True) if kind in kinds and len(text) > 1}
        return re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True))) or r"(?!)")


def _build(cls: type[Tokenizer], file: ModelFile) -> Tokenizer:
    metadata = file.metadata
    model = metadata.get("tokenizer.ggml.model")
    if model not in ("gpt2", "llama"):
        raise ModelError(f"the tokenizer {model!r} is not supported, only 'gpt2' (byte-level BPE) and 'llama' are")
    tokens, types = _vocabulary(metadata, file.config.vocab_size)
    pre = _pre(metadata) if model == "gpt2" else ""
    rules = PRE_TOKENIZERS.get(pre)
    bos, eos, eot, eom = (_token_id(metadata, name, len(tokens)) for name in ("bos", "eos", "eot", "eom"))
    ends = {token for token in (eos, eot, eom) if token is not None}
    return cls(
        model=str(model),
        pre=pre,
        tokens=tokens,
        types=types,
        bos=bos,
        eos=eos,
        add_bos=bos is not None and _flag(metadata, "add_bos_token", rules.add_bos if rules else True),
        end_ids=frozenset(ends | _known_ends(tokens, types)),
        _space_prefix=model == "llama" and _flag(metadata, "add_space_prefix", True),
        _encode=_byte_pairs(metadata, tokens, types, rules) if rules else _sentence_pieces(metadata, tokens, types),
    )


def _vocabulary(metadata: Mapping[str, object], num_rows: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Tokens and types, of equal length and no more than the embedding has rows."""
    tokens = _array(metadata, "tokens", str)
    if len(tokens) > num_rows:
        raise ModelError(f"there are {len(tokens)} tokens, more than the {num_rows} rows of the embedding")
    if len(set(tokens)) < len(tokens):
        raise ModelError("a token occurs twice in the vocabulary")
    if "tokenizer.ggml.token_type" not in metadata:
        return tokens, (int(TokenType.NORMAL),) * len(tokens)
    types = _array(metadata, "token_type", int, len(tokens))
    num_special = sum(kind in (TokenType.CONTROL, TokenType.USER_DEFINED) for kind in types)
    if num_special > _MAX_SPECIAL:
        raise ModelError(f"there are {num_special} special tokens, more than the limit of {_MAX_SPECIAL}")
    return tokens, types


def _array(metadata: Mapping[str, object], name: str, kind: type[Item], length: int | None = None) -> tuple[Item, ...]:
    """An array that is not empty; GGUF's arrays hold items of one type, so the first one tells."""
    values = metadata.get(f"tokenizer.ggml.{name}")
    if not isinstance(values, tuple) or not values or type(values[0]) is not kind:
        raise ModelError(f"the metadata key tokenizer.ggml.{name} must be an array of {kind.__name__}")
    if length is not None and len(values) != length:
        raise ModelError(f"tokenizer.ggml.{name} has {len(values)} items, but there are {length} tokens")
    return values


def _flag(metadata: Mapping[str, object], name: str, default: bool) -> bool:
    value = metadata.get(f"tokenizer.ggml.{name}", default)
    if not isinstance(value, bool):
        raise ModelError(f"tokenizer.ggml.{name} must be true or false, got {value!r}")
    return value


def _token_id(metadata: Mapping[str, object], name: str, num_tokens: int) -> int | None:
    key = f"tokenizer.ggml.{name}_token_id"
    if key not in metadata:
        return None
    token = metadata[key]
    if type(token) is not int or not 0 <= token < num_tokens:
        raise ModelError(f"{key} is {token!r}, it must be from 0 to {num_tokens - 1}")
    return token


def _known_ends(tokens: tuple[str, ...], types: tuple[int, ...]) -> set[int]:
    """Special tokens that are known to end a turn or a text, whatever the metadata say."""
    special = (TokenType.CONTROL, TokenType.USER_DEFINED)
    return {i for i, text in enumerate(tokens) if text in END_TOKENS and types[i] in special}


def _pre(metadata: Mapping[str, object]) -> str:
    pre = metadata.get("tokenizer.ggml.pre")
    if isinstance(pre, str) and pre in PRE_TOKENIZERS:
        return pre
    known = ", ".join(PRE_TOKENIZERS)
    raise ModelError(f"the pre-tokenizer {pre!r} is not known, and a wrong one is silently wrong; known are {known}")


def refuse_surrogates(text: str) -> None:
    """Raise InvalidRequest for text that is not Unicode's, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"character {error.start} of the text is half of a surrogate pair, not a character"
        ) from None


# Byte-level BPE


def _byte_table() -> dict[str, int]:
    """GPT-2's stand-ins: printable Latin-1 characters are themselves, the other bytes are numbered from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = sorted(set(range(256)) - set(printable))
    return {chr(byte): byte for byte in printable} | {chr(0x100 + rank): byte for rank, byte in enumerate(others)}


BYTE_CHARACTERS = MappingProxyType(_byte_table())
"""From GPT-2's stand-in to the byte."""


def _byte_pairs(
    metadata: Mapping[str, object], tokens: tuple[str, ...], types: tuple[int, ...], rules: PreTokenizer
) -> Encoder:
    from tokenizers import Tokenizer as Library
    from tokenizers import models, pre_tokenizers

    excluded = (TokenType.CONTROL, TokenType.UNKNOWN)  # their text, spelled out, stays text
    vocabulary = {text: i for i, (text, kind) in enumerate(zip(tokens, types, strict=True)) if kind not in excluded}
    merges = _merges(metadata, vocabulary)
    library = Library(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=rules.whole_words))
    library.pre_tokenizer = pre_tokenizers.Sequence(_splitters(rules))
    lost = frozenset(byte for character, byte in BYTE_CHARACTERS.items() if character not in vocabulary)

    def encode(text: str) -> list[int]:
        if lost and (missing := lost.intersection(text.encode())):
            raise InvalidRequest(f"this model has no token for the byte {min(missing):#04x} of the text; leave it out")
        ids: list[int] = library.encode(text, add_special_tokens=False).ids
        return ids

    return encode


def _splitters(rules: PreTokenizer) -> "list[pre_tokenizers.PreTokenizer]":
    from tokenizers import Regex, pre_tokenizers

    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in rules.patterns]
    return [*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]


def _merges(metadata: Mapping[str, object], vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    merges = []
    for rank, merge in enumerate(_array(metadata, "merges", str) if "tokenizer.ggml.merges" in metadata else ()):
        space = merge.find(" ", 1)
        left, right = merge[:space], merge[space + 1 :]
        if space < 0 or left not in vocabulary or right not in vocabulary or left + right not in vocabulary:
            raise ModelError(f"merge {rank} of the tokenizer, {merge[:40]!r}, does not join two tokens into a third")
        merges.append((left, right))
    return merges


# SentencePiece


def _sentence_pieces(metadata: Mapping[str, object], tokens: tuple[str, ...], types: tuple[int, ...]) -> Encoder:
    scores = _array(metadata, "scores", float, len(tokens))
    if not all(map(math.isfinite, scores)):
        raise ModelError("tokenizer.ggml.scores holds NaN or infinite numbers")
    ids = {text: token for token, text in enumerate(tokens)}
    try:
        byte_ids = [ids[f"<0x{byte:02X}>"] for byte in range(256)]
    except KeyError as error:
        raise ModelError(f"the SentencePiece vocabulary lacks the byte token {error.args[0]}") from None
    pieces = {text: token for text, token in ids.items() if types[token] == TokenType.NORMAL}

    def known(symbol: str) -> list[int]:
        return [pieces[symbol]] if symbol in pieces else [byte_ids[byte] for byte in symbol.encode()]

    def encode(text: str) -> list[int]:
        symbols = _merge_by_score(list(text.replace(" ", _SPACE)), pieces, scores)
        return list(chain.from_iterable(map(known, symbols)))

    return encode


def _merge_by_score(symbols: list[str], pieces: Mapping[str, int], scores: tuple[float, ...]) -> list[str]:
    """Join neighbours, the best-scored piece first and the leftmost among equals, until no two make a piece."""
    before = list(range(-1, len(symbols) - 1))
    after = [*range(1, len(symbols)), -1]
    queue: list[tuple[float, int, int, int]] = []

    def offer(left: int, right: int) -> None:
        if left >= 0 and right >= 0 and (piece := pieces.get(symbols[left] + symbols[right])) is not None:
            heappush(queue, (-scores[piece], left, right, len(symbols[left]) + len(symbols[right])))

    for right in range(1, len(symbols)):
        offer(right - 1, right)
    while queue:
        _, left, right, length = heappop(queue)
        if not symbols[left] or not symbols[right] or len(symbols[left]) + len(symbols[right]) != length:
            continue  # one of the two has been joined to another neighbour since
        symbols[left] += symbols[right]
        symbols[right] = ""
        after[left] = after[right]
        if after[left] >= 0:
            before[after[left]] = left
        offer(before[left], left)
        offer(left, after[left])
    return [symbol for symbol in symbols if symbol]

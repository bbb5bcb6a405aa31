"""From a Hugging Face folder's tokenizer to GGUF's metadata: byte-level BPE, and SentencePiece's BPE.

Whether a text becomes the same ids on both sides is tried out at the end: a wrong tokenizer is silently wrong.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lite.errors import ModelError
from lite.pre_tokenizers import PRE_TOKENIZERS
from lite.quant.folder_json import default_template
from lite.tokens import Tokenizer, TokenType

__all__ = ["HFTokenizer", "read_hf_tokenizer"]

_SPACE = "▁"  # SentencePiece's stand-in
_BYTE_LEVEL_GPT2 = PRE_TOKENIZERS["gpt-2"].patterns[0]
_PROBES = (
    "Hello, world! It's 12345 o'clock; they'll pay $3.50 (50%).",
    "  two  spaces\n\n\nand lines\r\n\ttabs   ",
    "Ünïcödé, 東京 2024年, Привет, مرحبا, हिन्दी 👩‍👩‍👧 ½",
    "def f(x_1):\n    return {'a': [x_1**2, -1e-5]} # CamelCase_snake\n",
    "A baker fills 8 boxes with 347 rolls each.",
    "I'M SURE YOU'VE seen 1000000 a1b2c3",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HFTokenizer:
    """What the metadata say, and the tokenizer that they were made from."""

    keys: Mapping[str, Any]  # GGUF's, whole
    layout: Mapping[str, Any]  # tokenizer.json

    def check(self, converted: Tokenizer) -> None:
        """Raises ModelError where a probe has other ids than it had."""
        from tokenizers import Tokenizer as Library

        try:
            library = Library.from_str(json.dumps(self.layout))
        except Exception as error:  # noqa: BLE001  # the library raises no narrower kind
            raise ModelError(f"tokenizer.json is damaged ({error}): download it again") from None
        library.no_padding()
        library.no_truncation()
        spaced = bool(self.keys.get("tokenizer.ggml.add_space_prefix"))
        for text in _PROBES:
            old = library.encode(text, add_special_tokens=False).ids
            new = converted.encode(f" {text}" if spaced else text)
            if old != new:
                place = next((i for i, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), 0)
                raise ModelError(
                    f"the tokenizer does not come through: {text!r} has other ids from the {place + 1}th on"
                )


def read_hf_tokenizer(folder: Path, config: Mapping[str, Any], num_rows: int) -> HFTokenizer:
    """`num_rows` of the embedding: tokens are filled up to as many. Raises ModelError, by name for what is not read."""
    layout = _json(folder / "tokenizer.json", needed=True)
    settings = _json(folder / "tokenizer_config.json")
    model = layout.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE" or "merges" not in model:
        kind = model.get("type") if isinstance(model, dict) else None
        raise ModelError(f"tokenizer.json holds a {kind} model, only BPE can be converted")
    tokens, types = _vocabulary(layout, num_rows)
    keys: dict[str, Any] = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types}
    merges = [" ".join(merge) if isinstance(merge, list) else str(merge) for merge in model["merges"]]
    if model.get("byte_fallback"):
        keys |= _sentence_pieces(layout, tokens, merges)
    else:
        keys |= {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": _family(layout), "tokenizer.ggml.merges": merges}
    keys |= _special_ids(folder, layout, settings, config, tokens)
    if template := _chat_template(folder, settings):
        keys["tokenizer.chat_template"] = template
    try:
        json.dumps(keys, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ModelError(f"tokenizer.json is damaged, {error.object[error.start]!a} is no character") from None
    return HFTokenizer(keys=keys, layout=layout)


def _json(path: Path, *, needed: bool = False) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        if needed:
            raise ModelError(f"{path} is missing: only folders with one are converted") from None
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path} holds no JSON object")
    return found


def _vocabulary(layout: Mapping[str, Any], num_rows: int) -> tuple[list[str], list[int]]:
    """Tokens and types by id; ids without a token are padding."""
    tokens = [f"[PAD{index}]" for index in range(num_rows)]
    types = [int(TokenType.UNUSED)] * num_rows
    unknown = layout["model"].get("unk_token")
    pieces = bool(layout["model"].get("byte_fallback"))
    for text, token in _placed(layout["model"]["vocab"].items(), num_rows):
        tokens[token] = text
        types[token] = _kind(text, text == unknown, pieces)
    added = [entry for entry in layout.get("added_tokens", []) if entry["content"] != unknown]
    for entry in added:
        [(text, token)] = _placed([(entry["content"], entry["id"])], num_rows)
        special = bool(entry.get("special"))
        tokens[token] = text.replace(_SPACE, " ") if pieces and not special else text  # as it stands in a text
        types[token] = int(TokenType.CONTROL if special else TokenType.USER_DEFINED)
    if pieces:
        _name_bytes(tokens, types)
    return tokens, types


def _name_bytes(tokens: list[str], types: list[int]) -> None:
    """Gemma's file calls the token of the byte 9 by its character."""
    ids = {text: token for token, text in enumerate(tokens)}
    for byte in range(128):
        if (name := f"<0x{byte:02X}>") not in ids and (token := ids.get(chr(byte))) is not None:
            tokens[token], types[token] = name, int(TokenType.BYTE)


def _placed(pairs: Any, num_rows: int) -> list[tuple[str, int]]:
    found = []
    for text, token in pairs:
        if not isinstance(text, str):
            raise ModelError(f"tokenizer.json: the token {_short(text)} is no text")
        if type(token) is not int or not 0 <= token < num_rows:
            raise ModelError(f"tokenizer.json: {text!r} has the id {token!r}, but the embedding has {num_rows} rows")
        found.append((text, token))
    return found


def _kind(text: str, is_unknown: bool, has_bytes: bool) -> int:
    if is_unknown:
        return int(TokenType.UNKNOWN)
    is_byte = has_bytes and len(text) == 6 and text.startswith("<0x") and text.endswith(">")
    return int(TokenType.BYTE if is_byte else TokenType.NORMAL)


# Byte-level BPE


def _family(layout: Mapping[str, Any]) -> str:
    """llama.cpp's name for the rules by which the text is cut; the first of those with the same rules."""
    patterns = _patterns(layout)
    whole = bool(layout["model"].get("ignore_merges"))
    exact = [
        name for name, rules in PRE_TOKENIZERS.items() if rules.patterns == patterns and rules.whole_words == whole
    ]
    preferred = [name for name in ("llama-bpe", "qwen2", "smollm", "gpt-2") if name in exact]
    if not exact:
        raise ModelError(f"tokenizer.json cuts text by rules that no known pre-tokenizer has: {list(patterns)}")
    return (preferred or exact)[0]


def _patterns(layout: Mapping[str, Any]) -> tuple[str, ...]:
    """The regular expressions of the pre-tokenizer, in order."""
    if layout.get("normalizer") not in (None, {"type": "NFC"}):  # that one GGUF's readers leave out
        raise ModelError(f"tokenizer.json has the normalizer {_short(layout['normalizer'])}, which GGUF cannot express")
    block = layout.get("pre_tokenizer") or {}
    found: list[str] = []
    for part in block.get("pretokenizers", [block]):
        kind = part.get("type")
        if kind == "ByteLevel":
            if part.get("add_prefix_space"):
                raise ModelError("tokenizer.json puts a space before a text, which byte-level GGUF models do not")
            found += [_BYTE_LEVEL_GPT2] if part.get("use_regex", True) else []
        elif kind == "Split" and "Regex" in part["pattern"] and part.get("behavior") == "Isolated":
            found.append(part["pattern"]["Regex"])
        elif kind == "Digits" and part.get("individual_digits"):
            found.append(r"\p{N}")
        else:
            raise ModelError(f"tokenizer.json has the pre-tokenizer {_short(part)}, which is not known")
    return tuple(found)


# SentencePiece


def _sentence_pieces(layout: Mapping[str, Any], tokens: list[str], merges: list[str]) -> dict[str, Any]:
    """SentencePiece joins the pair whose piece has the best score: minus the rank of the first merge that makes it."""
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        left, _, right = merge.partition(" ")
        ranks.setdefault(left + right, rank)
    last = float(len(merges))
    prefix = _adds_space(layout)
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.scores": [-float(ranks[text]) if text in ranks else -last for text in tokens],
        "tokenizer.ggml.add_space_prefix": prefix,
    }


def _adds_space(layout: Mapping[str, Any]) -> bool:
    """Whether a text gets a space in front. Raises ModelError for rules that are not SentencePiece's usual ones."""
    normalizer = layout.get("normalizer") or {}
    prefix = False
    for part in normalizer.get("normalizers", [normalizer] if normalizer else []):
        if part.get("type") == "Prepend" and part.get("prepend") == _SPACE:
            prefix = True
        elif part.get("type") != "Replace" or part.get("content") != _SPACE:
            raise ModelError(f"tokenizer.json has the normalizer {_short(part)}, which is not known")
    block = layout.get("pre_tokenizer") or {"type": "Split"}
    if block.get("type") == "Metaspace":
        prefix = block.get("prepend_scheme", "always") != "never"
        if block.get("split", True):
            raise ModelError("tokenizer.json splits at spaces before it merges, which GGUF's SentencePiece does not")
    elif block.get("type") != "Split":
        raise ModelError(f"tokenizer.json has the pre-tokenizer {_short(block)}, which is not known")
    return prefix


# Special tokens and the template


def _special_ids(
    folder: Path, layout: Mapping[str, Any], settings: Mapping[str, Any], config: Mapping[str, Any], tokens: list[str]
) -> dict[str, Any]:
    """BOS, EOS, and the end of a turn where it is another token."""
    ids = {text: token for token, text in enumerate(tokens)}
    ends = _json(folder / "generation_config.json").get("eos_token_id", config.get("eos_token_id"))
    end_ids = [token for token in (ends if isinstance(ends, list) else [ends]) if _is_id(token, tokens)]
    keys: dict[str, Any] = {}
    for name in ("bos", "eos", "unk", "pad"):
        told = settings.get(f"{name}_token")
        text = told.get("content") if isinstance(told, dict) else told
        token = ids.get(text) if isinstance(text, str) else config.get(f"{name}_token_id")
        if name == "eos" and not _is_id(token, tokens):
            token = end_ids[0] if end_ids else None
        if _is_id(token, tokens):
            keys[f"tokenizer.ggml.{_GGUF_NAMES.get(name, name)}_token_id"] = token
    others = [token for token in end_ids if token != keys.get("tokenizer.ggml.eos_token_id")]
    keys |= dict(zip(("tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"), others, strict=False))
    first = keys.get("tokenizer.ggml.bos_token_id")
    keys["tokenizer.ggml.add_bos_token"] = first is not None and _adds_bos(layout, settings, tokens[first])
    return keys


_GGUF_NAMES = {"unk": "unknown", "pad": "padding"}


def _is_id(token: Any, tokens: list[str]) -> bool:
    return type(token) is int and 0 <= token < len(tokens)


def _adds_bos(layout: Mapping[str, Any], settings: Mapping[str, Any], bos: str) -> bool:
    """As its own post-processing does, and where there is none as the configuration says."""
    block = layout.get("post_processor") or {}
    for part in block.get("processors", [block]):
        if part.get("type") == "TemplateProcessing":
            first = (part.get("single") or [{}])[0]
            return bool(first.get("SpecialToken", {}).get("id") == bos)
    return bool(settings.get("add_bos_token", False))


def _chat_template(folder: Path, settings: Mapping[str, Any]) -> str:
    """The file of its own, or the one in the tokenizer's configuration; of several the one called default."""
    path = folder / "chat_template.jinja"
    if path.exists():
        try:
            return path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{path} cannot be read: {error}") from None
    told = default_template(settings.get("chat_template"), "tokenizer_config.json")
    return told or default_template(_json(folder / "chat_template.json").get("chat_template"), "chat_template.json")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."

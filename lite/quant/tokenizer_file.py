"""tokenizer.json, as the `tokenizers` library reads it, of a GGUF file's tokenizer."""

from typing import Any

from lite.models import ModelFile
from lite.pre_tokenizers import PRE_TOKENIZERS
from lite.tokens import Tokenizer, TokenType

__all__ = ["tokenizer_json"]

_SPACE = "▁"  # SentencePiece's stand-in
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}


def tokenizer_json(file: ModelFile, tokenizer: Tokenizer) -> dict[str, Any]:
    """The whole file's content; with BOS in front where the model has it there."""
    parts = _byte_level(file, tokenizer) if tokenizer.model == "gpt2" else _sentence_pieces(file, tokenizer)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added(tokenizer),
        "post_processor": _bos_in_front(tokenizer) if tokenizer.add_bos else None,
        **parts,
    }


def _added(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """Tokens that are found in a text before it is cut."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    special = (TokenType.CONTROL, TokenType.UNKNOWN)
    kinds = (*special, TokenType.USER_DEFINED)
    return [
        {"id": token, "content": text, "special": kind in special, **plain}
        for token, (text, kind) in enumerate(zip(tokenizer.tokens, tokenizer.types, strict=True))
        if kind in kinds
    ]


def _bos_in_front(tokenizer: Tokenizer) -> dict[str, Any]:
    assert tokenizer.bos is not None
    text = tokenizer.tokens[tokenizer.bos]
    first, whole = {"SpecialToken": {"id": text, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    second = {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "type": "TemplateProcessing",
        "single": [first, whole],
        "pair": [first, whole, second],
        "special_tokens": {text: {"id": text, "ids": [tokenizer.bos], "tokens": [text]}},
    }


def _byte_level(file: ModelFile, tokenizer: Tokenizer) -> dict[str, Any]:
    rules = PRE_TOKENIZERS[tokenizer.pre]
    cuts = [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        for pattern in rules.patterns
    ]
    merges = file.metadata.get("tokenizer.ggml.merges", ())
    assert isinstance(merges, tuple)
    pairs = [_pair(str(merge)) for merge in merges]
    return {
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*cuts, _BYTE_LEVEL]},
        "decoder": _BYTE_LEVEL,
        "model": _model(tokenizer, pairs) | {"byte_fallback": False, "ignore_merges": rules.whole_words},
    }


def _pair(merge: str) -> list[str]:
    place = merge.find(" ", 1)
    return [merge[:place], merge[place + 1 :]]


def _sentence_pieces(file: ModelFile, tokenizer: Tokenizer) -> dict[str, Any]:
    """Merges in the order of the scores of what they make, which is the order in which SentencePiece joins."""
    scores = file.metadata["tokenizer.ggml.scores"]
    assert isinstance(scores, tuple)
    prefix = file.metadata.get("tokenizer.ggml.add_space_prefix", True)
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    back = {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "}
    decoders: list[dict[str, Any]] = [back, {"type": "ByteFallback"}, {"type": "Fuse"}]
    in_front = [{"type": "Prepend", "prepend": _SPACE}] if prefix else []
    unknown = next((t for t, kind in zip(tokenizer.tokens, tokenizer.types, strict=True) if kind == 2), None)
    model = _model(tokenizer, _joins(tokenizer, scores))
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*in_front, spaces]},
        "pre_tokenizer": None,
        "decoder": {
            "type": "Sequence",
            "decoders": decoders + ([{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []),
        },
        "model": model | {"byte_fallback": True, "ignore_merges": False, "unk_token": unknown, "fuse_unk": True},
    }


def _joins(tokenizer: Tokenizer, scores: tuple[Any, ...]) -> list[list[str]]:
    pieces = {
        text: token
        for token, (text, kind) in enumerate(zip(tokenizer.tokens, tokenizer.types, strict=True))
        if kind == TokenType.NORMAL
    }
    ranked = sorted((text for text in pieces if len(text) > 1), key=lambda text: -float(scores[pieces[text]]))
    return [
        [text[:place], text[place:]]
        for text in ranked
        for place in range(1, len(text))
        if text[:place] in pieces and text[place:] in pieces
    ]


def _model(tokenizer: Tokenizer, merges: list[list[str]]) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "vocab": {
            text: token
            for token, (text, kind) in enumerate(zip(tokenizer.tokens, tokenizer.types, strict=True))
            if kind != TokenType.UNUSED
        },
        "merges": merges,
    }

"""How the families of byte-level BPE cut a text before pairs are merged, by the names that GGUF files give them.

A family is the sequence of regular expressions that its makers published: the text is cut by the first, each part by
the second, and so on; what an expression matches is a part, and so is what lies between.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["PRE_TOKENIZERS", "PreTokenizer"]

_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LINES = r"\s*[\r\n]+|\s+(?!\S)|\s+"


def _words(digits: str) -> str:
    """Words with the character before them, numbers, punctuation with the newlines after it, and white space."""
    return rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_LINES}"


_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+|[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_LINES}"
)
_MARKED_WORDS = (
    rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_LINES}"
)
_UNICODE_6 = (  # letters with a case of that version, but without the mathematical ones and a few
    "[\\p{Lu}\\p{Ll}\\p{Lt}&&[^\u0560-\u0588\u10c7-\u10ff\u1c80-\u1c8f\u2d00-\u2d2d\ua790-\ua7fa\uab30-\uab68"
    "\U00010570-\U000105bc\U00010d40-\U00010d8f\U00016e40-\U0001dfff]]"
)
_CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_DEEPSEEK_LLM = (
    r"[\r\n]",
    rf"\s?{_UNICODE_6}+",
    "\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+",
    r"\s+$",
    _CJK,
    r"\p{N}+",
)
_DEEPSEEK_3 = (
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
    + _LINES,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreTokenizer:
    """A family's rules."""

    patterns: tuple[str, ...]  # in Oniguruma's syntax
    whole_words: bool = False  # a part that is a token is one, whatever the merges make of it
    add_bos: bool = False  # where the file does not say


_GPT2_FAMILY = PreTokenizer(patterns=(_GPT2,))
_SINGLE_DIGITS = PreTokenizer(patterns=(r"\p{N}", _GPT2))
_QWEN2 = PreTokenizer(patterns=(_words(r"\p{N}"),))
_LLAMA3 = PreTokenizer(patterns=(_words(r"\p{N}{1,3}"),), whole_words=True, add_bos=True)

PRE_TOKENIZERS: Mapping[str, PreTokenizer] = MappingProxyType(
    {  # tokenizer.ggml.pre -> the family whose rules it names
        "command-r": _SINGLE_DIGITS,
        "deepseek-coder": PreTokenizer(patterns=(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK, r"\p{N}")),
        "deepseek-llm": PreTokenizer(patterns=_DEEPSEEK_LLM),
        "deepseek-r1-qwen": _QWEN2,
        "deepseek-v3": PreTokenizer(patterns=_DEEPSEEK_3),
        "falcon": PreTokenizer(patterns=(r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]")),
        "falcon3": _LLAMA3,
        "gpt-2": _GPT2_FAMILY,
        "llama-bpe": _LLAMA3,
        "llama-v3": _LLAMA3,
        "llama3": _LLAMA3,
        "megrez": _QWEN2,
        "minerva-7b": _SINGLE_DIGITS,
        "mpt": _GPT2_FAMILY,
        "phi-2": _GPT2_FAMILY,
        "qwen2": _QWEN2,
        "qwen35": PreTokenizer(patterns=(_MARKED_WORDS,)),
        "refact": _SINGLE_DIGITS,
        "smaug-bpe": PreTokenizer(patterns=_LLAMA3.patterns),
        "smollm": _SINGLE_DIGITS,
        "starcoder": _SINGLE_DIGITS,
        "tekken": PreTokenizer(patterns=(_TEKKEN,), whole_words=True, add_bos=True),
    }
)
"""llama.cpp cuts in the same way, but in `tekken`, where its rules leave marks out of words and the makers' do not."""

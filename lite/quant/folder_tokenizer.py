"""The tokenizer of a model's folder: tokenizer.json, and what the configurations beside it say of special tokens."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lite.errors import ModelError
from lite.quant.folder_json import optional_json
from lite.tokenizer_json import JsonTokenizer

__all__ = ["read_tokenizer"]


def read_tokenizer(folder: Path, sources: Sequence[Mapping[str, Any]]) -> JsonTokenizer:
    """`sources` are the model's configurations, the first that names a token counts. Raises ModelError."""
    path, told = folder / "tokenizer.json", optional_json(folder / "tokenizer_config.json")
    if not path.exists():
        raise ModelError("tokenizer.json is missing from its folder: download or export it with its tokenizer")
    generation = optional_json(folder / "generation_config.json")
    everything = (generation, *sources)
    try:
        return JsonTokenizer.parse(
            path.read_text("utf-8"),
            bos=_text(told.get("bos_token")) or next(_ids(everything, "bos_token_id"), None),
            eos=_text(told.get("eos_token")) or next(_ids(everything, "eos_token_id"), None),
            ends=_ids(everything, "eos_token_id"),
            add_bos=told.get("add_bos_token") is True,
        )
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read {path}: {error}") from None
    except ModelError as error:
        raise ModelError(f"cannot use {path}: {error}") from None


def _text(token: object) -> str | None:
    """A token's text, which may stand in an object of its own."""
    content = token.get("content") if isinstance(token, Mapping) else token
    return content if isinstance(content, str) else None


def _ids(sources: Sequence[Mapping[str, Any]], name: str) -> Iterator[int]:
    for source in sources:
        told = source.get(name)
        yield from (token for token in (told if isinstance(told, list) else [told]) if type(token) is int)

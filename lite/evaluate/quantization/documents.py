"""The texts that are scored: read from a file, cut into pieces, and kept apart from what was calibrated on."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lite.codec import Codec
from lite.errors import UsageError
from lite.quant.imatrix import is_imatrix

__all__ = ["Document", "Text", "check_apart", "read_texts", "text_documents"]

_TELLING = 40  # characters: what is shorter occurs anywhere


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """Tokens to be scored, and what they go on from."""

    context: tuple[int, ...]  # at least one
    ids: tuple[int, ...]  # at least one
    cluster: int  # documents of one number are no independent evidence: samples of one question


@dataclass(frozen=True, slots=True)
class Text:
    """A text to be scored, and what it goes on from: "" for a text of its own."""

    text: str
    prompt: str = ""


def read_texts(path: Path) -> list[Text]:
    """The paragraphs of a text, or the lines of a .jsonl file, each with "text" and perhaps "prompt".

    Raises UsageError, naming the line.
    """
    content = _content(path)
    if path.suffix == ".jsonl":
        found = [_text(path, number, line) for number, line in enumerate(content.split("\n"), 1) if line.strip()]
    else:
        found = [Text(paragraph) for paragraph in content.split("\n\n")]
    found = [one for one in found if one.text.strip()]
    if not found:
        raise UsageError(f"{path} holds no text")
    return found


def text_documents(texts: Iterable[Text], codec: Codec, longest: int) -> list[Document]:
    """In pieces of at most `longest` tokens, each on its own; a piece of a single token has nothing to score.

    Special tokens in a text count, so a conversation may be written as the model's template renders it. A text after
    a prompt stays in one piece, of as much as fits.
    """
    pieces = [piece for one in texts for piece in _pieces(one, codec, longest)]
    return [Document(context, ids, cluster) for cluster, (context, ids) in enumerate(pieces) if ids]


def check_apart(calibration: Path, text: Path | None, questions: Iterable[str]) -> None:
    """Raises UsageError where what is measured on was calibrated on: the same file, a text in both, or a question.

    A text of a few words may stand in both. A file of finished measurements is no text: what it was made from cannot
    be told.
    """
    if text is not None and _bytes(calibration) == _bytes(text):
        raise UsageError(f"{calibration} is both --imatrix and --text: calibrate on other texts than you measure on")
    if is_imatrix(calibration):
        return
    held = " ".join(" ".join(f"{one.prompt} {one.text}" for one in read_texts(calibration)).split())
    for one in (*(() if text is None else (one.text for one in read_texts(text))), *questions):
        plain = " ".join(one.split())
        if len(plain) >= _TELLING and plain in held:
            raise UsageError(
                f"{calibration} holds a text that is to be measured on ({plain[:60]!r}): calibrate on other texts"
            )


def _pieces(text: Text, codec: Codec, longest: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(context, ids)"""
    if text.prompt:
        context = tuple(codec.encode_prompt(text.prompt))
        yield context, tuple(codec.encode(text.text))[: max(0, longest - len(context))]
        return
    ids = tuple(codec.encode_prompt(text.text))
    for start in range(0, len(ids), longest):
        yield ids[start : start + 1], ids[start + 1 : start + longest]


def _text(path: Path, number: int, line: str) -> Text:
    try:
        plain = json.loads(line)
        found = Text(plain["text"], plain.get("prompt", ""))
    except (ValueError, TypeError, KeyError, AttributeError):
        found = Text("", "")
    if not isinstance(found.text, str) or not isinstance(found.prompt, str) or not found.text:
        raise UsageError(f'{path}, line {number} is no object with a "text"')
    return found


def _content(path: Path) -> str:
    try:
        return _bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None

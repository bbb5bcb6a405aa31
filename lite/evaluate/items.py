"""Questions with known answers: built-in tasks, JSONL files, and folders of them.

A line of a JSONL file is an object with `question`, `answer` and, where there are any, `choices`; other keys are
passed over. GSM8K's own format is accepted as it is: what follows `####` in an answer is the answer. With choices the
answer is one of them, its letter, or its number from 0; ARC's `{"text": [...], "label": [...]}` is accepted too.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from lite.errors import UsageError

__all__ = ["Item", "Suite", "item_hash", "load_suite", "shard_of"]

_MOST_DRAWN = 1_000_000  # questions of a built-in task: they are all held in memory
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One question of a task. `id` is unique within the task."""

    id: str
    question: str
    answer: str
    choices: tuple[str, ...] = ()
    index: int = 0  # its place in the task

    @property
    def asked(self) -> str:
        """The question as a model reads it: with its choices, lettered, one a line."""
        lettered = (f"({letter}) {choice}" for letter, choice in zip(_LETTERS, self.choices, strict=False))
        return "\n".join((self.question, *lettered))


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A task: its name and its questions in order."""

    name: str
    items: tuple[Item, ...]


def load_suite(task: str, *, limit: int | None = None, seed: int = 0) -> Suite:
    """The built-in task of that name, or what a file or folder holds. Raises UsageError, naming file and line.

    `limit` is how many questions: the first ones of a file (None: all), 100 of a built-in task if None. `seed` draws
    a built-in task's questions; of the same seed, more questions begin with the fewer.
    """
    from lite.evaluate.tasks.registry import TASKS

    if limit is not None and limit < 1:
        raise UsageError(f"the number of questions must be at least 1, got {limit}")
    path = Path(task).expanduser()
    if task in TASKS and not path.exists():
        if limit is not None and limit > _MOST_DRAWN:
            raise UsageError(f"{task} gives at most {_MOST_DRAWN} questions, got {limit}: ask for fewer")
        return _suite(f"{task}-{seed}", TASKS[task](100 if limit is None else limit, seed))
    if not path.exists():
        known = ", ".join(TASKS)
        raise UsageError(f"there is no task {task!r}: it is neither a JSONL file or folder, nor one of {known}")
    items = _folder(path) if path.is_dir() else _file(path, "")
    return _suite(path.stem, items[:limit])


def item_hash(item: Item) -> str:
    """16 hexadecimal digits that name the content; the id is no part of it."""
    content = json.dumps([item.question, item.answer, item.choices], ensure_ascii=False)
    return blake2b(content.encode(), digest_size=8).hexdigest()


def shard_of(items: Sequence[Item], shard: tuple[int, int]) -> tuple[Item, ...]:
    """Every N-th item from the i-th on, for shard (i, N) with 0 <= i < N: all shards together are all items."""
    index, count = shard
    if not 0 <= index < count:
        raise UsageError(f"a shard is I/N with I from 0 to N - 1, got {index}/{count}")
    return tuple(items[index::count])


def _suite(name: str, items: Sequence[Item]) -> Suite:
    return Suite(name=name, items=tuple(replace(item, index=i) for i, item in enumerate(items)))


def _folder(folder: Path) -> list[Item]:
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise UsageError(f"{folder} holds no .jsonl file")
    return [item for file in files for item in _file(file, f"{file.stem}/")]


def _file(path: Path, prefix: str) -> list[Item]:
    if path.is_char_device() or path.is_block_device():
        raise UsageError(f"{path} is a device, which may have no end: name a file")
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    items: list[Item] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                items.append(_item(json.loads(line), f"{prefix}{len(items)}"))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
                raise UsageError(f"{path}, line {number} is no question with an answer: {reason}") from None
    if not items:
        raise UsageError(f"{path} holds no question")
    return items


def _item(plain: Mapping[str, Any], name: str) -> Item:
    if not isinstance(plain, Mapping):
        raise TypeError("it is no JSON object")
    question, answer = plain["question"], plain["answer"]
    if not isinstance(question, str) or not question.strip():
        raise TypeError(f"the question must be text, got {question!r}")
    choices, labels = _choices(plain.get("choices") or ())
    return Item(id=name, question=question, answer=_answer(answer, choices, labels), choices=choices)


def _choices(plain: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The choices and their labels."""
    texts, labels = plain, _LETTERS
    if isinstance(plain, Mapping):
        texts, labels = plain["text"], plain["label"]
    if isinstance(texts, str) or len(texts) > len(_LETTERS):
        raise ValueError(f"choices are a list of at most {len(_LETTERS)} texts")
    return tuple(str(text) for text in texts), tuple(str(label).upper() for label in labels)


def _answer(plain: Any, choices: Sequence[str], labels: Sequence[str]) -> str:
    if isinstance(plain, bool) or not isinstance(plain, str | int | float):
        raise TypeError(f"the answer must be text or a number, got {plain!r}")
    text = str(plain).rpartition("####")[2].strip()
    if not text:
        raise ValueError("the answer is empty")
    if not choices or text in choices:
        return text
    if isinstance(plain, int) and 0 <= plain < len(choices):
        return choices[plain]
    label = text.strip("(). ").upper()
    if label in labels[: len(choices)]:
        return choices[labels.index(label)]
    raise ValueError(f"the answer {text!r} is none of the choices")

"""A model on the disk that has been found, not opened; and the reading of folders that may hold anything."""

import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

from lite.errors import ModelError
from lite.quant.gguf_header import peek_architecture

__all__ = ["FoundModel", "Kind", "Search", "in_repo", "quantization", "split_of"]

Kind: TypeAlias = Literal["gguf", "safetensors", "onnx"]

_HEAD_BYTES = 1 << 14  # of a GGUF file; converters put the architecture first
_MAX_TEXT_BYTES = 1 << 20  # of a manifest or a settings file
_NOT_LANGUAGE_MODELS = frozenset(("clip",))  # what turns an image into embeddings
_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
_QUANTIZATION = re.compile(r"[-._]((?:UD-)?I?Q\d\w*|BF16|F16|F32|FP16|FP32|MXFP4\w*|TQ\d\w*)\.gguf$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModel:
    """A model at hand, not opened."""

    name: str  # what `-m` takes, and no other model's
    path: Path  # a GGUF file, or a folder
    num_bytes: int
    store: str  # "embedded", "lite", or the program whose it is: the name's prefix
    kind: Kind = "gguf"
    problem: str = ""  # why it cannot be opened; "" where nothing speaks against it
    also: frozenset[str] = frozenset()  # in lower case, names it shares with others or is known by elsewhere

    @property
    def embedded(self) -> bool:
        """Whether it ships with the package."""
        return self.store == "embedded"


@dataclass(slots=True)
class Search:
    """Reads folders. What is not there is no news; what may not be read is passed over and noted."""

    skipped: list[str] = field(default_factory=list)  # "FOLDER: why"

    def entries(self, folder: Path) -> list[Path]:
        """What lies in a folder, by name; nothing where there is no such folder."""
        try:
            return sorted(folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self._skip(folder, error)
            return []

    def files(self, folder: Path, suffix: str, depth: int) -> Iterator[Path]:
        """Files by the end of their names, links that lead nowhere among them, at most `depth` folders down."""
        for path in self.entries(folder):
            if path.name.lower().endswith(suffix) and not self._is_folder(path):
                yield path
            elif depth and self._is_folder(path):
                yield from self.files(path, suffix, depth - 1)

    def text(self, path: Path) -> str | None:
        """A small text file; None where it is not there, too large or no text."""
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                return None
            with path.open("rb") as file:
                raw = file.read(_MAX_TEXT_BYTES + 1)
            return raw.decode("utf-8") if len(raw) <= _MAX_TEXT_BYTES else None
        except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
            return None
        except OSError as error:
            self._skip(path, error)
            return None

    def gguf(self, path: Path, *, name: str, store: str, also: Iterable[str] = ()) -> FoundModel | None:
        """A file as a model; None for a later part of a split one, no language model, and what cannot be read."""
        part, parts = split_of(path.name)
        if part > 1:
            return None
        try:
            num_bytes, problem = _looked_at(path)
        except OSError as error:
            self._skip(path, error)
            return None
        if problem is None:
            return None
        if parts > 1:
            problem = (
                f"it is split into {parts} files, and only whole ones are read: llama-gguf-split --merge joins them"
            )
        return FoundModel(
            name=name,
            path=path,
            num_bytes=num_bytes,
            store=store,
            problem=problem,
            also=frozenset(one.lower() for one in also),
        )

    def _is_folder(self, path: Path) -> bool:
        try:
            return path.is_dir()
        except OSError as error:
            self._skip(path, error)
            return False

    def _skip(self, path: Path, error: OSError) -> None:
        self.skipped.append(f"{path}: {error.strerror or type(error).__name__}")


def _looked_at(path: Path) -> tuple[int, str | None]:
    """The size in bytes and what speaks against a file ("": nothing; None: it is no language model at all)."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, "its data is gone (a link that leads nowhere): fetch it again"
    if not stat.S_ISREG(status.st_mode):
        return 0, None
    with path.open("rb") as file:
        start = file.read(_HEAD_BYTES)
    try:
        architecture = peek_architecture(start)
    except ModelError as error:
        return status.st_size, str(error)
    return status.st_size, None if architecture in _NOT_LANGUAGE_MODELS else ""


def split_of(file_name: str) -> tuple[int, int]:
    """Which part of how many a file is by its name, as llama.cpp splits them; (1, 1) for a whole one."""
    found = _SPLIT.search(file_name)
    return (int(found[1]), int(found[2])) if found else (1, 1)


def quantization(file_name: str) -> str:
    """How a GGUF file is quantized by its name, in capitals: "Q4_K_M"; "" where the name does not tell."""
    found = _QUANTIZATION.search(_SPLIT.sub(".gguf", file_name))
    return found[1].upper() if found else ""


def in_repo(store: str, repo: str, files: Mapping[str, Path], search: Search) -> list[FoundModel]:
    """The models among a repository's GGUF files, given by their paths within it.

    A lone one is named STORE:REPO, one of several STORE:REPO:FILE; each goes by its file name and more besides.
    """
    models = []
    for file, path in files.items():
        if model := search.gguf(path, name=f"{store}:{repo}:{file}", store=store, also=_names(store, repo, file)):
            models.append(model)
    return models if len(models) != 1 else [replace(models[0], name=f"{store}:{repo}")]


def _names(store: str, repo: str, file: str) -> set[str]:
    """All that a file goes by, with the store's prefix and without: by its name, by its quantization, by its repo's."""
    base = Path(file).name
    stem = base[: -len(".gguf")]
    long = {repo, *(f"{repo}:{ending}" for ending in (file, base, stem, quantization(base)) if ending)}
    return {*long, *(f"{store}:{name}" for name in long), repo.rpartition("/")[2], base, stem}

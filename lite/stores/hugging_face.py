"""The Hugging Face cache, which that hub's own tools and many others share, llama.cpp among them.

Layout: models--OWNER--NAME/{blobs/ETAG, snapshots/COMMIT/FILE -> ../../blobs/ETAG, refs/BRANCH}.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from lite.stores.found import FoundModel, Kind, Search, in_repo

__all__ = ["find", "find_in", "home_folder", "hub_folder", "repo_folder"]

_DEPTH = 3  # folders within a snapshot
_FOLDER_KINDS: tuple[Kind, ...] = ("onnx", "safetensors")


def home_folder() -> Path:
    """`$HF_HOME`, where the token is kept too, or the place that it has by default on every platform."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _expanded(os.environ.get("HF_HOME") or os.path.join(cache, "huggingface"))


def hub_folder() -> Path:
    """The cache: `$HF_HUB_CACHE`, by its older name `$HUGGINGFACE_HUB_CACHE`, or a folder of `home_folder`."""
    chosen = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return _expanded(chosen) if chosen else home_folder() / "hub"


def repo_folder(cache: Path, repo: str) -> Path:
    """Where a cache keeps the repository OWNER/NAME."""
    return cache / "--".join(("models", *repo.split("/")))


def find(search: Search) -> Iterator[FoundModel]:
    """GGUF files, and folders of safetensors or ONNX where a repository has no GGUF file."""
    return find_in(hub_folder(), search)


def find_in(cache: Path, search: Search) -> Iterator[FoundModel]:
    """Likewise in a cache elsewhere."""
    for folder in search.entries(cache):
        prefix, _, repo = folder.name.partition("--")
        if prefix == "models" and repo:
            yield from _models(folder, repo.replace("--", "/"), search)


def _models(folder: Path, repo: str, search: Search) -> Iterator[FoundModel]:
    files: dict[str, Path] = {}
    snapshots = _snapshots(folder, search)
    for snapshot in snapshots:
        for path in search.files(snapshot, ".gguf", _DEPTH):
            files.setdefault(path.relative_to(snapshot).as_posix(), path)
    yield from in_repo("hf", repo, files, search)
    if not files:
        models = (_folder_model(snapshot, repo, search) for snapshot in snapshots)
        yield from [model for model in models if model][:1]


def _snapshots(folder: Path, search: Search) -> list[Path]:
    """The main branch's first, then the latest."""
    main = (search.text(folder / "refs" / "main") or "").strip()
    return sorted(search.entries(folder / "snapshots"), key=lambda path: (path.name != main, -_changed(path)))


def _folder_model(snapshot: Path, repo: str, search: Search) -> FoundModel | None:
    """A language model as a folder of weights with its config.json; None where it is none."""
    if not _is_language_model(snapshot, search):
        return None
    for kind in _FOLDER_KINDS:
        weights = list(search.files(snapshot, f".{kind}", 1))
        if weights:
            sizes = [_size(path) for path in weights]
            return FoundModel(
                name=f"hf:{repo}",
                path=snapshot,
                num_bytes=sum(size or 0 for size in sizes),
                store="hf",
                kind=kind,
                problem="some of its data is gone (a link that leads nowhere): fetch it again" if None in sizes else "",
                also=frozenset({repo.lower(), repo.rpartition("/")[2].lower()}),
            )
    return None


def _is_language_model(snapshot: Path, search: Search) -> bool:
    if search.text(snapshot / "genai_config.json") is not None:
        return True
    try:
        config = json.loads(search.text(snapshot / "config.json") or "{}")
    except (ValueError, RecursionError):
        return False
    architectures = config.get("architectures") if isinstance(config, dict) else None
    endings = ("ForCausalLM", "ForConditionalGeneration")
    return isinstance(architectures, list) and any(str(one).endswith(endings) for one in architectures)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _expanded(path: str) -> Path:
    return Path(os.path.expandvars(os.path.expanduser(path)))

"""LM Studio's models: OWNER/NAME/FILE.gguf in its own folder, or in the one that its settings name."""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from lite.stores.found import FoundModel, Search, in_repo

__all__ = ["find", "folders"]

_DEPTH = 3


def folders(search: Search) -> list[Path]:
    """Every place where it may keep models: its home has moved once, and can be moved by a pointer file."""
    home = Path.home()
    pointer = (search.text(home / ".lmstudio-home-pointer") or "").strip()
    homes = [*([Path(pointer)] if pointer else []), home / ".lmstudio", home / ".cache" / "lm-studio"]
    chosen = [folder for each in homes if (folder := _chosen(each, search))]
    return list(dict.fromkeys([*chosen, *(each / "models" for each in homes)]))


def find(search: Search) -> Iterator[FoundModel]:
    """Its GGUF files."""
    for folder in folders(search):
        repos = defaultdict[str, dict[str, Path]](dict)
        for path in search.files(folder, ".gguf", _DEPTH):
            repos[_repo(path, folder)][path.name] = path
        for repo, files in repos.items():
            yield from in_repo("lmstudio", repo, files, search)


def _repo(path: Path, folder: Path) -> str:
    """OWNER/NAME; for a file that was put elsewhere, the folders it lies in, or its own name."""
    return path.relative_to(folder).parent.as_posix() if path.parent != folder else path.stem


def _chosen(home: Path, search: Search) -> Path | None:
    try:
        settings = json.loads(search.text(home / "settings.json") or "{}")
    except (ValueError, RecursionError):
        return None
    folder = settings.get("downloadsFolder") if isinstance(settings, dict) else None
    return Path(folder).expanduser() if isinstance(folder, str) and folder else None

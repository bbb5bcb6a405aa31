"""llama.cpp's own cache: files of its earlier releases, OWNER_NAME_FILE.gguf, and a Hugging Face cache of its later."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from lite.stores import hugging_face
from lite.stores.found import FoundModel, Search

__all__ = ["find", "folder"]


def folder() -> Path:
    """`$LLAMA_CACHE`, or the platform's place for caches."""
    if chosen := os.environ.get("LLAMA_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "llama.cpp"
    name = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    return Path(os.environ.get(name) or Path.home() / ".cache") / "llama.cpp"


def find(search: Search) -> Iterator[FoundModel]:
    """Those of its earlier layout by their file names, and those of its later one as of the hub."""
    for path in search.files(folder(), ".gguf", 0):
        also = {path.name, path.stem, f"llama.cpp:{path.name}"}
        if model := search.gguf(path, name=f"llama.cpp:{path.stem}", store="llama.cpp", also=also):
            yield model
    if folder() != hugging_face.hub_folder():
        yield from hugging_face.find_in(folder(), search)

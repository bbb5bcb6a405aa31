"""The models at hand: the embedded one, those in lite's folders, and those that other programs have fetched."""

import difflib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from lite.config import embedded_model, model_folders
from lite.errors import ModelError
from lite.stores import hugging_face, llama_cpp, lm_studio, ollama
from lite.stores.found import FoundModel, Search

__all__ = ["FoundModel", "find_models", "resolve", "shown_name"]

_STORES: Mapping[str, Callable[[Search], Iterator[FoundModel]]] = {
    "hf": hugging_face.find,
    "ollama": ollama.find,
    "lmstudio": lm_studio.find,
    "llama.cpp": llama_cpp.find,
}
"""By the prefix of their models' names."""

_MOST_NAMED = 6  # in a message
_DIGEST = re.compile(r"(sha256-)?[0-9a-f]{40,64}")  # what stores call files and folders, and people do not


def find_models(search: Search | None = None) -> list[FoundModel]:
    """All that can be named, lite's own first; of two with one name the first is meant.

    `search` is told what could not be read.
    """
    search = search or Search()
    found: dict[str, FoundModel] = {}
    for model in (*_own(search), *_elsewhere(search)):
        found.setdefault(model.name, model)
    return list(found.values())


def resolve(name_or_path: str | os.PathLike[str] | None = None) -> Path:
    """The file or folder that a user means: a path, the name of a model at hand, or None for the embedded one.

    Raises ModelError for a name that is not there, that several models share, and of a model known to be unusable.
    A path is not looked at: opening it tells what is wrong.
    """
    if name_or_path is None:
        return embedded_model()
    text = os.fspath(name_or_path)
    store, colon, _ = text.partition(":")
    if colon and store.lower() in _STORES:
        return _of_store(text, store.lower())
    path = Path(os.path.expanduser(text))  # unlike Path's own, it and os.path.exists raise for no text at all
    if os.path.exists(path) or not isinstance(name_or_path, str):
        return path
    search = Search()
    own = list(_own(search))
    if meant := _meant(text, own) or _meant(text, others := list(_elsewhere(search))):
        return meant
    if path.name != text:
        return path
    where = ", ".join(map(str, model_folders()))
    near = _near(text, (*own, *others))
    raise ModelError(
        f"there is no model {text!r}, neither as a file nor by name in {where} or where other programs keep theirs;"
        f" {near}`lite ls` lists the models at hand"
    )


def shown_name(name_or_path: str | os.PathLike[str] | None, path: Path) -> str:
    """What results call the model at `path`: its file's or folder's name, or what was asked for if that is a digest."""
    own = path.stem if path.suffix.lower() == ".gguf" else path.name
    return os.fspath(name_or_path) if name_or_path is not None and _DIGEST.fullmatch(own) else own


def _own(search: Search) -> Iterator[FoundModel]:
    """The embedded model first, then the folders' files in order."""
    embedded = search.gguf(embedded_model(), name=embedded_model().stem, store="embedded", also=[embedded_model().stem])
    yield from [embedded] if embedded else []
    for folder in model_folders():
        for path in search.files(folder, ".gguf", 0):
            if model := search.gguf(path, name=path.stem, store="lite", also=[path.stem, path.name]):
                yield model


def _elsewhere(search: Search) -> Iterator[FoundModel]:
    for find in _STORES.values():
        yield from find(search)


def _of_store(text: str, store: str) -> Path:
    """A model by its prefixed name. Raises ModelError, with the command that fetches it where there is one."""
    search = Search()
    models = list(_elsewhere(search)) if store == "hf" else list(_STORES[store](search))
    if meant := _meant(text, models):
        return meant
    pull = f"`lite pull {text}` fetches it" if store == "hf" else "`lite ls` lists the models at hand"
    skipped = f" ({search.skipped[0]})" if search.skipped else ""
    raise ModelError(f"there is no model {text!r} on this disk{skipped}; {_near(text, models)}{pull}")


def _meant(text: str, models: Iterable[FoundModel]) -> Path | None:
    """The one that goes by this name, by its own before a shared one. Raises ModelError where several do."""
    name, models = text.lower(), list(models)
    named = [one for one in models if one.name.lower() == name][:1] or [one for one in models if name in one.also]
    files: dict[str, FoundModel] = {}
    for one in named:
        files.setdefault(os.path.realpath(one.path), one)
    usable = [one for one in files.values() if not one.problem] or list(files.values())
    if len(usable) > 1 and usable[0].store not in ("embedded", "lite"):
        raise ModelError(f"{text!r} could be {_listed(one.name for one in usable)}: name one of them")
    if usable and usable[0].problem:
        raise ModelError(f"the model {usable[0].name} ({usable[0].path}) cannot be used: {usable[0].problem}")
    return usable[0].path if usable else None


def _near(text: str, models: Iterable[FoundModel]) -> str:
    names = {alias: one.name for one in models for alias in (*one.also, one.name.lower())}
    close = difflib.get_close_matches(text.lower(), names, n=1, cutoff=0.5)
    return f"did you mean {names[close[0]]!r}? " if close else ""


def _listed(names: Iterable[str]) -> str:
    known = sorted(names)
    more = len(known) - _MOST_NAMED
    return ", ".join(known[:_MOST_NAMED]) + (f" or {more} more" if more > 0 else "")

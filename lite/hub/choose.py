"""Which file of a repository is meant."""

import difflib
from collections.abc import Sequence
from pathlib import PurePosixPath

from lite.errors import ModelError, UsageError
from lite.hub.client import RepoFile
from lite.hub.names import HubName
from lite.stores.found import quantization, split_of

__all__ = ["PREFERRED", "candidates", "folder_of_weights", "named", "preferred"]

PREFERRED = ("Q4_K_M", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_S", "Q5_K_S", "Q4_0", "IQ4_XS", "IQ4_NL", "BF16", "F16", "F32")
"""The quantization that is taken where the user names no file: the first of these that a repository has."""

_ASIDE = ("mmproj", "imatrix")  # what some repositories keep beside the model


def candidates(files: Sequence[RepoFile]) -> list[RepoFile]:
    """The GGUF files that may be models, the preferred first, those outside the rule last."""
    models = [one for one in files if one.path.lower().endswith(".gguf") and not _is_aside(one.path)]
    return sorted(models, key=lambda one: (_rank(one), one.path))


def preferred(models: Sequence[RepoFile]) -> RepoFile | None:
    """The one to take among candidates: a lone one, or the first by the rule; None where the rule tells none."""
    whole = [one for one in models if split_of(one.path) == (1, 1)]
    if len(models) == 1 and whole:
        return whole[0]
    return next((one for one in whole if _rank(one) < len(PREFERRED)), None)


def folder_of_weights(files: Sequence[RepoFile]) -> list[RepoFile]:
    """What makes a Hugging Face folder that can be run: settings, tokenizer, safetensors; [] where there is none."""
    here = [one for one in files if "/" not in one.path]
    weights = [one for one in here if one.path.startswith("model") and one.path.endswith(".safetensors")]
    settings = [one for one in here if one.path.endswith((".json", ".jinja"))]
    return [*settings, *weights] if weights and any(one.path == "config.json" for one in settings) else []


def named(files: Sequence[RepoFile], name: HubName) -> RepoFile:
    """The file that the user names, in full or in short. Raises ModelError where there is none, or none to be read."""
    wanted = name.file.lower()
    found = [one for one in files if one.path == name.file] or [one for one in files if wanted in _names(one.path)]
    if not found:
        near = difflib.get_close_matches(name.file, [one.path for one in files], n=1, cutoff=0.3)
        hint = f"did you mean {near[0]!r}?" if near else "see the repository's list of files"
        raise ModelError(f"{name.repo} has no file {name.file!r}; {hint}")
    _, parts = split_of(found[0].path)
    if parts > 1:
        raise ModelError(
            f"{found[0].path} is split into {parts} files, and only whole ones are read: choose another, or join them"
            " with llama-gguf-split --merge"
        )
    if len(found) > 1:
        raise UsageError(f"{name} could be {' or '.join(one.path for one in found)}: name one of them")
    return found[0]


def _is_aside(path: str) -> bool:
    return any(word in PurePosixPath(path).name.lower() for word in _ASIDE)


def _rank(file: RepoFile) -> int:
    kind = quantization(file.path)
    return PREFERRED.index(kind) if kind in PREFERRED else len(PREFERRED)


def _names(path: str) -> set[str]:
    name = PurePosixPath(path).name.lower()
    kind = "" if _is_aside(path) else quantization(path).lower()
    return {path.lower(), name, name.removesuffix(".gguf"), kind}

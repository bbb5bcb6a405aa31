"""Ollama's models: a manifest manifests/HOST/NAMESPACE/NAME/TAG names the blob that is the GGUF file."""

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lite.stores.found import FoundModel, Search

__all__ = ["find", "folders"]

_HOST, _NAMESPACE = "registry.ollama.ai", "library"  # those that Ollama's own names leave out
_MODEL_LAYER = "application/vnd.ollama.image.model"
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")


def folders() -> list[Path]:
    """`$OLLAMA_MODELS`, or the user's and, on Linux, the service's."""
    chosen = os.environ.get("OLLAMA_MODELS")
    if chosen:
        return [Path(chosen).expanduser()]
    service = [Path("/usr/share/ollama/.ollama/models")] if sys.platform == "linux" else []
    return [Path.home() / ".ollama" / "models", *service]


def find(search: Search) -> Iterator[FoundModel]:
    """Its models, by the names that it lists them by."""
    for folder in folders():
        for manifest in _manifests(folder / "manifests", search, 4):
            if model := _model(folder, manifest, search):
                yield model


def _manifests(folder: Path, search: Search, depth: int) -> Iterator[Path]:
    for path in search.entries(folder):
        if depth == 1:
            yield path
        else:
            yield from _manifests(path, search, depth - 1)


def _model(folder: Path, manifest: Path, search: Search) -> FoundModel | None:
    """None for what has no single model layer: an embedding of adapters, or weights in another format."""
    layer = _model_layer(search.text(manifest) or "")
    if layer is None:
        return None
    digest, num_bytes = layer
    name = _name(manifest.relative_to(folder / "manifests").parts)
    untagged = {name.removesuffix(":latest")}
    also = {name, f"ollama:{name}", *untagged, *(f"ollama:{one}" for one in untagged)}
    blob = folder / "blobs" / f"sha256-{digest}"
    found = search.gguf(blob, name=f"ollama:{name}", store="ollama", also=also)
    if found is None or found.problem or found.num_bytes == num_bytes:
        return found
    return replace(found, problem=f"{found.num_bytes} of its {num_bytes} bytes are there: fetch it again")


def _model_layer(manifest: str) -> tuple[str, int] | None:
    """The digest and the size of the weights; None where a manifest names none."""
    try:
        layers = json.loads(manifest)["layers"]
        models = [layer for layer in layers if layer["mediaType"] == _MODEL_LAYER]
        digest = _DIGEST.fullmatch(models[0]["digest"])
        return (digest[1], int(models[0]["size"])) if digest else None
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        return None


def _name(parts: tuple[str, ...]) -> str:
    host, namespace, name, tag = parts
    words = [] if (host, namespace) == (_HOST, _NAMESPACE) else [namespace] if host == _HOST else [host, namespace]
    return "/".join([*words, name]) + f":{tag}"

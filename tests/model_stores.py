"""A home folder in which other programs have left models, written byte by byte as they do."""

import hashlib
import json
import os
import struct
from pathlib import Path

import pytest

VARIABLES = (
    *("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HF_TOKEN_PATH", "HF_ENDPOINT", "HF_HUB_OFFLINE"),
    *("HUGGING_FACE_HUB_TOKEN", "OLLAMA_MODELS", "LLAMA_CACHE", "XDG_CACHE_HOME", "LITE_OFFLINE"),
)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def at_home(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """No other home, and no variable that leads out of it."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("OLLAMA_MODELS", str(home / ".ollama" / "models"))  # and not the service's


def header(architecture: str = "qwen3", size: int = 100) -> bytes:
    """The beginning of a GGUF file without tensors, padded."""
    key, value = b"general.architecture", architecture.encode()
    pair = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(value)) + value
    return (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair).ljust(size, b"\0")


def put(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def hub_file(cache: Path, repo: str, file: str, data: bytes, commit: str = COMMIT, branch: str = "main") -> Path:
    """As the hub's tools leave it: a blob, a link to it, and the branch."""
    folder = cache / ("models--" + repo.replace("/", "--"))
    blob = put(folder / "blobs" / hashlib.sha256(data).hexdigest(), data)
    link = folder / "snapshots" / commit / file
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    put(folder / "refs" / branch, commit)
    return link


def ollama_model(models: Path, name: str, data: bytes, **layer: object) -> Path:
    """As `ollama pull` leaves HOST/NAMESPACE/NAME/TAG; returns the blob. `layer` overrides what the manifest says."""
    digest = hashlib.sha256(data).hexdigest()
    layers = [
        {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:" + "1" * 64, "size": 3},
        {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": len(data)} | layer,
    ]
    put(models / "manifests" / name, json.dumps({"schemaVersion": 2, "config": {}, "layers": layers}))
    return put(models / "blobs" / f"sha256-{digest}", data)

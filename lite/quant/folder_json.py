"""The JSON files of a model's folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lite.errors import ModelError

__all__ = ["chat_template", "default_template", "optional_json", "read_json"]


def read_json(path: Path) -> Mapping[str, Any]:
    """An object. Raises ModelError, which names the file."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path.parent}: {path.name} is missing; download the folder whole") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"cannot read {path}: {error}") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no JSON object")
    return content


def optional_json(path: Path) -> Mapping[str, Any]:
    """Likewise; empty where there is no such file."""
    return read_json(path) if path.exists() else {}


def chat_template(folder: Path) -> str:
    """From a file of its own, or from the tokenizer's configuration, where there may be several; "" without any."""
    path = folder / "chat_template.jinja"
    if path.exists():
        try:
            return path.read_text("utf-8")
        except (OSError, ValueError) as error:
            raise ModelError(f"cannot read {path}: {error}") from None
    for name in ("chat_template.json", "tokenizer_config.json"):
        if template := default_template(optional_json(folder / name).get("chat_template"), name):
            return template
    return ""


def default_template(told: Any, name: str) -> str:
    """`told`, or of several the one called default; "" without any. Raises ModelError, which names the file."""
    if isinstance(told, list):
        named = [one for one in told if isinstance(one, Mapping)]
        told = next((one.get("template") for one in named if one.get("name") == "default"), None)
    if not isinstance(told, str | None):
        raise ModelError(f"{name}: chat_template is of type {type(told).__name__}, it must be a text")
    return told or ""

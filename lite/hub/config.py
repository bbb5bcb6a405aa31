"""How the hub is reached, and where what it gives is kept."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from lite.errors import UsageError
from lite.stores.hugging_face import home_folder, hub_folder

__all__ = ["HubConfig", "hub_config"]

_ENDPOINT = "https://huggingface.co"
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))


@dataclass(frozen=True, slots=True, kw_only=True)
class HubConfig:
    """Raises UsageError for an endpoint that is no URL, and where a token would travel unencrypted."""

    cache: Path
    endpoint: str = _ENDPOINT
    token: str = field(default="", repr=False)
    connect_seconds: float = 10.0
    silence_seconds: float = 30.0  # after which a connection counts as broken
    attempts: int = 5  # in a row that bring nothing
    longest_wait_seconds: float = 60.0  # between attempts; a server that asks for more is given up

    def __post_init__(self) -> None:
        parts = urlsplit(self.endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise UsageError(f"HF_ENDPOINT must be like https://host, got {self.endpoint!r}")
        if self.token and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise UsageError(f"the token would travel unencrypted to {parts.hostname}: use https, or unset HF_TOKEN")


def hub_config() -> HubConfig:
    """From the variables that the hub's own tools read: HF_ENDPOINT, HF_HUB_CACHE, HF_HOME, HF_TOKEN, HF_TOKEN_PATH."""
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or _ENDPOINT
    return HubConfig(endpoint=endpoint, cache=hub_folder(), token=_token())


def _token() -> str:
    """The one of the environment, or the one that the hub's own tools have stored; "" where there is neither."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if token := os.environ.get(name, "").strip():
            return _checked(token, f"the variable {name}")
    path = Path(os.path.expanduser(os.environ.get("HF_TOKEN_PATH") or home_folder() / "token"))
    try:
        return _checked(path.read_text("utf-8").strip(), f"the file {path}")
    except (OSError, UnicodeDecodeError):
        return ""


def _checked(token: str, where: str) -> str:
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise UsageError(f"{where} holds characters that no token has")
    return token

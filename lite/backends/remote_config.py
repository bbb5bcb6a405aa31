"""How a remote server is reached, what it costs, and how long it is waited for."""

import math
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from lite.errors import MissingExtra, UsageError
from lite.privacy import Privacy
from lite.sampler import Ability, Traits

__all__ = ["OFFERED", "RemoteConfig", "Secret"]

_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
OFFERED: frozenset[Ability] = frozenset(("logprobs", "top", "prefix"))  # what such a server can offer at all


class Secret:
    """A key that shows itself in no log, representation or message."""

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        self._value = value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "Secret(***)" if self._value else "Secret()"

    def reveal(self) -> str:
        """The key itself."""
        return self._value

    def removed_from(self, text: str) -> str:
        """The text with the key, should it be there, made unreadable."""
        return text.replace(self._value, "***") if self._value else text


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteConfig:
    """An OpenAI-compatible server. Raises ValueError for a value out of range.

    Where the URL is not encrypted and not on this machine, a key is sent only if `plain_http` says so.
    """

    url: str  # up to and with the version: https://host/v1
    model: str = ""  # "": the first that the server lists
    api: Literal["auto", "chat", "completions"] = "auto"  # auto: chat for a Chat, completions for text and ids
    key_env: str = ""  # the environment variable that holds the key
    keyring: str = ""  # or the service under which the system's keyring holds it, for the user that is `host`
    key_file: str = ""  # or the file, readable by its owner alone; the first of these that holds a key counts
    can: frozenset[Ability] | None = None  # None: found out with a request of one token, without any of your text
    batch_samples: bool | None = None  # several samples in one request (n); None: found out likewise
    prefix_style: Literal["none", "assistant", "continue"] = "none"  # whether a chat may begin the model's own turn:
    # as a last message of the assistant (llama-server), with vLLM's fields in addition (continue), or not at all
    thinking_style: Literal["template", "effort", "none"] = "template"  # what carries Chat.thinking:
    # chat_template_kwargs (llama-server, vLLM), reasoning_effort, or nothing
    traits: Traits = field(default_factory=lambda: Traits("<think>", "</think>"))  # put around what it reasons
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    stream: bool = True
    prompt_price: float = 0.0  # for a million tokens, in any one currency
    completion_price: float = 0.0  # likewise
    connect_seconds: float = 10.0
    read_seconds: float = 60.0  # the longest silence, the one before the first token included
    total_seconds: float = 600.0  # for a branch with its retries, from when it is its turn
    retries: int = 2  # after the first attempt, and only while no token has come
    backoff_seconds: float = 0.5  # before the first retry at most; doubles, with full jitter
    longest_wait_seconds: float = 30.0  # between attempts; a server that asks for more is given up
    breaker_failures: int = 5  # in a row, after which nothing is sent ...
    breaker_seconds: float = 30.0  # ... for so long; then one request tries
    concurrency: int = 8  # requests at once
    hedge_seconds: float | None = None  # send a second request when the first has said nothing for so long
    most_bytes: int = 32 * 2**20  # of one response
    offline: bool = False  # nothing is ever sent
    privacy: Privacy = field(default_factory=Privacy)
    ca_file: str = ""  # certificates to trust instead of the usual ones
    proxy: str = ""  # the environment's proxies are not used
    plain_http: bool = False

    def __post_init__(self) -> None:
        if not _is_plain(self.url):
            raise ValueError("url must be like https://host/v1, without a user, a password or a query")
        if self.can is not None and not self.can <= OFFERED:
            raise ValueError(f"can must be among {sorted(OFFERED)}, got {sorted(self.can - OFFERED)}")
        for name in ("connect_seconds", "read_seconds", "total_seconds"):
            self._check(name, 0 < getattr(self, name) < math.inf, "above 0")
        for name in ("backoff_seconds", "longest_wait_seconds", "breaker_seconds", "prompt_price", "completion_price"):
            self._check(name, 0 <= getattr(self, name) < math.inf, "0 or above")
        for name in ("breaker_failures", "concurrency", "most_bytes"):
            self._check(name, getattr(self, name) >= 1, "at least 1")
        self._check("retries", self.retries >= 0, "0 or above")
        self._check("hedge_seconds", self.hedge_seconds is None or 0 < self.hedge_seconds < math.inf, "above 0 or None")

    def _check(self, name: str, fine: bool, limit: str) -> None:
        if not fine:
            raise ValueError(f"{name} must be {limit}, got {getattr(self, name)!r}")

    @property
    def host(self) -> str:
        """For messages."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)

    def check_files(self) -> None:
        """Raises UsageError where `ca_file` cannot be read."""
        if self.ca_file:
            import ssl

            try:
                ssl.create_default_context(cafile=self.ca_file)
            except (OSError, ssl.SSLError):
                raise UsageError(f"ca_file {self.ca_file} holds no certificates that can be read") from None

    def read_key(self) -> Secret:
        """The key, from where the config says. Raises UsageError, which never holds a part of it."""
        sources = self._key_sources()
        if not sources:
            return Secret()
        parts = urlsplit(self.url)
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not self.plain_http:
            raise UsageError(f"the key would travel unencrypted to {self.host}: use https, or set plain_http=True")
        for where, read in sources.items():
            if key := read():
                if not (key.isascii() and key.isprintable()) or " " in key:
                    raise UsageError(f"the {where} holds characters that no key has")
                return Secret(key)
        where = " or the ".join(sources)
        raise UsageError(f"the {where} should hold the key for {self.host}, and is empty or not there")

    def _key_sources(self) -> dict[str, Callable[[], str]]:
        """Those that are given, in the order in which they are asked."""
        asked: dict[str, Callable[[], str]] = {}
        if self.key_env:
            asked[f"environment variable {self.key_env}"] = lambda: os.environ.get(self.key_env, "").strip()
        if self.keyring:
            asked[f"keyring's service {self.keyring}"] = lambda: _from_keyring(self.keyring, self.host)
        if self.key_file:
            asked[f"file {self.key_file}"] = lambda: _read_private(Path(self.key_file))
        return asked


def _from_keyring(service: str, user: str) -> str:
    """Raises MissingExtra, and UsageError for a keyring that is locked or not there."""
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError as error:
        raise MissingExtra("a key in the system's keyring", "keyring") from error
    try:
        return (keyring.get_password(service, user) or "").strip()
    except KeyringError as error:
        kind = type(error).__name__
        raise UsageError(f"the system's keyring cannot be asked ({kind}): see `keyring --list-backends`") from None


def _is_plain(url: str) -> bool:
    try:
        parts = urlsplit(url)
        in_range = parts.port is None or parts.port > 0
    except ValueError:  # a port beyond 65535, or half an IPv6 address
        return False
    return (
        in_range and parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.username or parts.query)
    )


def _read_private(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
            raise UsageError(f"the key file {path} can be read by others: chmod 600 {path}")
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the key file {path} cannot be read: {type(error).__name__}") from None

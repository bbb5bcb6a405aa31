"""hf:OWNER/NAME[:FILE], and what a hub may call its files and commits."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from lite.errors import UsageError

__all__ = ["HubName", "check_revision", "is_commit", "is_digest", "is_safe_path", "parse_name"]

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_NAME = re.compile(rf"(?:hf:|hf://)?(?P<repo>{_PART}/{_PART})(?::(?P<file>.+))?")
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')  # what some file system does not take


@dataclass(frozen=True, slots=True)
class HubName:
    """What a user asks for."""

    repo: str  # OWNER/NAME
    file: str = ""  # a path in the repository, a file's name, or its quantization; "": to be chosen

    def __str__(self) -> str:
        return f"hf:{self.repo}" + (f":{self.file}" if self.file else "")


def parse_name(text: str) -> HubName:
    """Raises UsageError for what names no repository."""
    found = _NAME.fullmatch(text)
    if found is None or "--" in found["repo"] or ".." in found["repo"]:
        raise UsageError(f"{text!r} names no repository: it should be like hf:OWNER/NAME or hf:OWNER/NAME:FILE")
    return HubName(found["repo"], found["file"] or "")


def check_revision(text: str) -> None:
    """Raises UsageError for what can be no branch, tag or commit."""
    if not is_safe_path(text):
        raise UsageError(f"{text!r} can be no branch, tag or commit: leave --revision out for the main branch")


def is_safe_path(path: str) -> bool:
    """Whether a path that a server tells stays where it is put, on every system."""
    parts = PurePosixPath(path).parts
    return (
        bool(parts)
        and "/".join(parts) == path
        and parts[0] != "/"
        and not {".", ".."} & {*parts}
        and not (_FORBIDDEN.search(path))
    )


def is_commit(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{40}", text) is not None


def is_digest(text: str) -> bool:
    """Whether it is a SHA-256, as large files have it, or the SHA-1 that git gives to small ones."""
    return re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", text) is not None

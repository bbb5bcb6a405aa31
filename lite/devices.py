"""Which devices and processes work as one, as users name them; read without any engine."""

import re
from dataclasses import dataclass

from lite.errors import UsageError

__all__ = ["Hosts", "parse_hosts", "parse_mesh"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """This process is number `index` of `count`; number 0 listens at `port` of `host`."""

    index: int
    count: int
    host: str
    port: int

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


def parse_hosts(text: str) -> Hosts | None:
    """From "0/2@host:port"; None for "auto", where the cluster tells. Raises UsageError."""
    if text == "auto":
        return None
    match = re.fullmatch(r"(\d+)/(\d+)@(.+):(\d+)", text)
    if match is None or int(match[1]) >= int(match[2]) or not 0 < int(match[4]) < 1 << 16:
        raise UsageError(
            f"{text!r} is neither auto nor of the form 0/2@host:port, a number below the count first, a port below "
            "65536 last"
        )
    return Hosts(index=int(match[1]), count=int(match[2]), host=match[3], port=int(match[4]))


def parse_mesh(text: str) -> dict[str, int]:
    """Sizes by axis, from "data=4,model=2". Raises UsageError."""
    sizes = {"data": 1, "model": 1}
    for part in text.split(","):
        name, _, number = (word.strip() for word in part.partition("="))
        if name not in sizes or not number.isdecimal() or int(number) < 1:
            raise UsageError(f"the mesh {text!r} is not of the form data=4,model=2 with numbers from 1 on")
        sizes[name] = int(number)
    return sizes

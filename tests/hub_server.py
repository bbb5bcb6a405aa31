"""A hub on loopback that speaks the hub's file protocol, its bytes behind another port; and all that goes wrong."""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from tests.http_servers import Reply, Server

COMMIT = "89abcdef0123456789abcdef0123456789abcdef"
Fault = Callable[[Reply], bool]  # answers in the hub's stead: whether it has


@dataclass
class FakeHub:
    """One repository. A context manager; `faults` are asked first, each of them once, in order."""

    files: Mapping[str, bytes]
    repo: str = "o/n"
    token: str = ""  # what a client must show; "" for a public repository
    gated: bool = False
    small: frozenset[str] = frozenset()  # files that lie at the hub itself, under git's own SHA-1
    lists_faults: list[Fault] = field(default_factory=list)
    store_faults: list[Fault] = field(default_factory=list)
    etags: dict[str, str] = field(default_factory=dict)  # told instead of the right ones

    def __enter__(self) -> "FakeHub":
        self._stack = ExitStack()
        self.store = self._stack.enter_context(Server([self._give]))
        self.hub = self._stack.enter_context(Server([self._answer]))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def endpoint(self) -> str:
        return self.hub.url.removesuffix("/v1")

    @property
    def ranges(self) -> list[str]:
        """What was asked of the store, request by request."""
        return [headers.get("Range", "") for headers in self.store.headers]

    def etag(self, file: str) -> str:
        data = self.files[file]
        if file in self.small:
            return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        return hashlib.sha256(data).hexdigest()

    def _answer(self, reply: Reply) -> None:
        if self.lists_faults and self.lists_faults.pop(0)(reply):
            return
        shown = reply.handler.headers.get("Authorization", "")
        path = unquote(urlsplit(reply.path).path)
        if self.token and shown != f"Bearer {self.token}":
            refuse(reply, 401, "RepoNotFound")
        elif path.startswith(f"/api/models/{self.repo}/revision/"):
            self._list(reply, path.rpartition("/")[2])
        elif path.startswith(f"/{self.repo}/resolve/{COMMIT}/"):
            self._resolve(reply, path.split("/", 5)[5])
        else:
            refuse(reply, 404, "RepoNotFound")

    def _list(self, reply: Reply, revision: str) -> None:
        if revision not in ("main", COMMIT):
            refuse(reply, 404, "RevisionNotFound")
            return
        reply.head(200, "application/json")
        files = [{"rfilename": name, "size": len(data)} for name, data in self.files.items()]
        reply.send(json.dumps({"sha": COMMIT, "siblings": files}).encode())

    def _resolve(self, reply: Reply, file: str) -> None:
        if self.gated:
            refuse(reply, 403, "GatedRepo")
            return
        if file not in self.files:
            refuse(reply, 404, "EntryNotFound")
            return
        data, etag = self.files[file], self.etags.get(file, self.etag(file))
        if file in self.small:
            reply.head(200, "text/plain", X_Repo_Commit=COMMIT, ETag=f'"{etag}"', Content_Length=str(len(data)))
            reply.send(b"" if reply.handler.command == "HEAD" else data)
            return
        where = self.store.url.removesuffix("/v1") + f"/{file}?signature=secret"
        linked = {"X_Linked_Etag": f'"{etag}"', "X_Linked_Size": str(len(data)), "X_Repo_Commit": COMMIT}
        reply.head(302, "text/plain", Location=where, Content_Length="0", **linked)

    def _give(self, reply: Reply) -> None:
        if self.store_faults and self.store_faults.pop(0)(reply):
            return
        data = self.files[unquote(urlsplit(reply.path).path).lstrip("/")]
        start = begin(reply)
        if start >= len(data):
            refuse(reply, 416)
            return
        send(reply, data, start, len(data))


def begin(reply: Reply) -> int:
    """Where the client wants to go on."""
    return int(reply.handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])


def send(reply: Reply, data: bytes, start: int, end: int) -> None:
    """The bytes from `start` to `end`, though all to the data's end are announced."""
    headers = {"Content_Length": str(len(data) - start)}
    if start:
        headers["Content_Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
    reply.head(206 if start else 200, "application/octet-stream", **headers)
    reply.send(data[start:end])


def refuse(reply: Reply, status: int, code: str = "", **headers: str) -> None:
    reply.head(status, "text/plain", Content_Length="0", **({"X_Error_Code": code} if code else {}), **headers)


def breaks_after(data: bytes, num_bytes: int) -> Fault:
    """The connection is torn when so many more bytes have gone out."""

    def act(reply: Reply) -> bool:
        start = begin(reply)
        send(reply, data, start, start + num_bytes)
        reply.wait(0.05)
        reply.reset()
        return True

    return act


def says(status: int, **headers: str) -> Fault:
    def act(reply: Reply) -> bool:
        refuse(reply, status, **headers)
        return True

    return act

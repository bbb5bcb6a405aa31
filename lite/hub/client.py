"""The hub's file protocol: a repository's list of files, what one file is, and its bytes from any place on.

GET  /api/models/OWNER/NAME/revision/REVISION?blobs=true   the commit, and the files with their sizes
HEAD /OWNER/NAME/resolve/COMMIT/FILE                       X-Linked-Etag: the SHA-256; X-Linked-Size
GET  /OWNER/NAME/resolve/COMMIT/FILE, Range                redirected to where the bytes lie
"""

import email.utils
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar
from urllib.parse import quote

import httpx

from lite.errors import ModelError, UsageError
from lite.hub.config import HubConfig
from lite.hub.names import is_commit, is_digest, is_safe_path

__all__ = ["Body", "Broken", "Hub", "Listing", "RepoFile"]

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

_MOST_LISTING_BYTES = 32 << 20
_MOST_REDIRECTS = 5
_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))


@dataclass(frozen=True, slots=True)
class RepoFile:
    """A file of a repository."""

    path: str  # within the repository, with slashes
    num_bytes: int
    digest: str = ""  # SHA-256, or git's SHA-1 of a small file; "" where it was not asked for


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository at one commit."""

    commit: str
    files: tuple[RepoFile, ...]


@dataclass(frozen=True, slots=True)
class Body:
    """A file's bytes on their way."""

    start: int  # where in the file they begin: 0 where the server does not go on in the middle
    chunks: Iterator[bytes]


class Broken(Exception):
    """A failure that may pass. The message is one line and holds no token."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait  # seconds that the server asks for


class Hub:
    """Opens no socket before the first call. Not thread-safe; close it, or use `with`."""

    def __init__(self, config: HubConfig, pause: Callable[[float], None] = time.sleep) -> None:
        self.config = config
        self.pause = pause
        headers = {"User-Agent": "lite", "Accept-Encoding": "identity"}
        if config.token:
            headers["Authorization"] = f"Bearer {config.token}"
        self._client = httpx.Client(
            headers=headers,
            timeout=httpx.Timeout(config.silence_seconds, connect=config.connect_seconds),
            follow_redirects=False,
        )

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> "Hub":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def listing(self, repo: str, revision: str) -> Listing:
        """Raises ModelError and UsageError, one line."""
        url = f"{self.config.endpoint}/api/models/{repo}/revision/{quote(revision, safe='')}?blobs=true"
        return self._persistent(lambda: self._listing(url, repo))

    def described(self, repo: str, commit: str, file: RepoFile) -> RepoFile:
        """The file with its digest and size as the hub tells them for the very file. Raises as `listing` does."""
        return self._persistent(lambda: self._described(repo, commit, file))

    @contextmanager
    def body(self, repo: str, commit: str, file: RepoFile, start: int) -> Iterator[Body]:
        """The bytes from `start` on, once and without another attempt.

        Raises Broken when the connection does, also while the bytes are read, and as `listing` does.
        """
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._opened("GET", self._url(repo, commit, file.path), headers) as response:
            if response.status_code == 416:
                raise Broken(f"{file.path}: the server has no bytes after {start}")
            _refuse(response, repo, self.config)
            begins = _begin(response, start)
            yield Body(begins, self._chunks(response))

    def _listing(self, url: str, repo: str) -> Listing:
        with self._opened("GET", url, {}) as response:
            _refuse(response, repo, self.config)
            raw = b""
            for chunk in self._chunks(response):
                raw += chunk
                if len(raw) > _MOST_LISTING_BYTES:
                    raise ModelError(f"the hub's list of {repo} is longer than {_MOST_LISTING_BYTES >> 20} MiB")
        return _parsed(raw, repo)

    def _described(self, repo: str, commit: str, file: RepoFile) -> RepoFile:
        """The first answer that names the digest is the hub's own; where it leads to is not asked."""
        with self._opened("HEAD", self._url(repo, commit, file.path), {}, stop_at="X-Linked-Etag") as response:
            _refuse(response, repo, self.config)
            headers = response.headers
            digest = (headers.get("X-Linked-Etag") or headers.get("ETag") or "").removeprefix("W/").strip('"')
            size = headers.get("X-Linked-Size") or ("" if response.is_redirect else headers.get("Content-Length", ""))
            told = headers.get("X-Repo-Commit", commit)
        if not is_digest(digest) or not size.isdecimal():
            raise ModelError(
                f"{self.config.endpoint} does not tell the checksum and the size of {file.path}: is it a hub?"
            )
        if told != commit:
            raise ModelError(f"the hub answers for commit {told[:40]!r} where {commit} was asked for: try again")
        return RepoFile(file.path, int(size), digest)

    def _url(self, repo: str, commit: str, path: str) -> str:
        return f"{self.config.endpoint}/{repo}/resolve/{commit}/{quote(path)}"

    @contextmanager
    def _opened(self, method: str, url: str, headers: dict[str, str], *, stop_at: str = "") -> Iterator[httpx.Response]:
        """The answer at the end of the redirects, or the first with the header `stop_at`; only the hub sees a token."""
        request = self._client.build_request(method, url, headers=headers)
        for _ in range(_MOST_REDIRECTS + 1):
            try:
                response = self._client.send(request, stream=True)
            except httpx.TransportError as error:
                raise Broken(_told(error, request.url)) from error
            except (httpx.InvalidURL, httpx.HTTPError) as error:
                raise ModelError(f"{request.url.host} cannot be asked: {type(error).__name__}") from None
            following = response.next_request
            if following is None or stop_at in response.headers:
                break
            response.close()
            request = following
        else:
            raise ModelError(f"{url} is redirected more than {_MOST_REDIRECTS} times")
        try:
            yield response
        finally:
            response.close()

    def _chunks(self, response: httpx.Response) -> Iterator[bytes]:
        try:
            yield from response.iter_raw()
        except httpx.TransportError as error:
            raise Broken(_told(error, response.url)) from error

    def _persistent(self, ask: Callable[[], Result]) -> Result:
        """Ask again as long as the failure may pass."""
        for attempt in range(1, self.config.attempts + 1):
            try:
                return ask()
            except Broken as broken:
                self.wait_after(broken, attempt)
        raise AssertionError("the last attempt raises")

    def wait_after(self, broken: Broken, attempt: int) -> None:
        """Wait before the next attempt, twice as long each time. Raises ModelError after the last one."""
        config = self.config
        seconds = float(2 ** (attempt - 1)) if broken.wait is None else broken.wait
        if attempt >= config.attempts:
            raise ModelError(f"{broken}, {attempt} times in a row: try again later") from None
        if seconds > config.longest_wait_seconds:
            raise ModelError(f"{broken}, and asks for {seconds:.0f} s of patience: try again later") from None
        _log.warning("%s; trying again in %.0f s", broken, seconds)
        self.pause(seconds)


def _refuse(response: httpx.Response, repo: str, config: HubConfig) -> None:
    """Raises Broken, UsageError or ModelError for all but a success and a redirect that is not followed."""
    status = response.status_code
    if status < 400:
        return
    if status in _PASSING or not str(response.url).startswith(f"{config.endpoint}/"):
        raise Broken(f"{response.url.host} answers HTTP {status}", _retry_after(response.headers.get("Retry-After")))
    code = response.headers.get("X-Error-Code", "")
    page = f"{config.endpoint}/{repo}"
    if code == "GatedRepo":
        raise UsageError(f"{repo} is gated: accept its terms at {page}, and set HF_TOKEN to a token of that account")
    if status in (401, 403) and config.token:
        raise UsageError(f"the hub does not show {repo} to the owner of this token (HTTP {status}): see {page}")
    if status in (401, 403):
        raise UsageError(f"there is no model {repo}, or it is private: correct the name, or set HF_TOKEN")
    if status == 404:
        what = {"RevisionNotFound": "no such branch, tag or commit in", "EntryNotFound": "no such file in"}
        raise ModelError(f"{what.get(code, 'there is no model')} {repo}: see {page}")
    raise ModelError(f"{response.url.host} answers HTTP {status} for {repo}")


def _parsed(raw: bytes, repo: str) -> Listing:
    try:
        told = json.loads(raw)
        files = tuple(RepoFile(one["rfilename"], int(one.get("size") or 0)) for one in told["siblings"])
        commit = told["sha"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ModelError(f"what the hub tells of {repo} cannot be read: is HF_ENDPOINT a hub?") from None
    if not isinstance(commit, str) or not is_commit(commit):
        raise ModelError(f"the hub names no commit of {repo}")
    return Listing(commit, tuple(one for one in files if is_safe_path(one.path)))


def _begin(response: httpx.Response, asked: int) -> int:
    """Where in the file the bytes begin."""
    if response.status_code != 206:
        return 0
    told = response.headers.get("Content-Range", "").removeprefix("bytes").strip()
    start = told.partition("-")[0]
    if not start.isdecimal() or int(start) != asked:
        raise Broken(f"{response.url.host} sends bytes {told or 'of no place'} where {asked} and on were asked for")
    return asked


def _retry_after(told: str | None) -> float | None:
    """Seconds, from a number of them or an HTTP date (RFC 9110, section 10.2.3); None for anything else."""
    if told is None:
        return None
    if told.strip().isdecimal():
        return float(told)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(told).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def _told(error: httpx.TransportError, url: httpx.URL) -> str:
    """What happened on the network, without the query of a URL, which may be as good as a key."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return f"no connection to {url.host}"
    if isinstance(error, httpx.TimeoutException):
        return f"{url.host} has fallen silent"
    return f"the connection to {url.host} broke"

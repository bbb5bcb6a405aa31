"""Requests to the server: timeouts, retries, hedging and the circuit breaker. Everything here runs in the loop.

Retried is only what has said nothing yet; a stream that breaks after its first message cannot be taken up again.
"""

import asyncio
import email.utils
import json
import ssl
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import httpx

from lite.backends.remote_breaker import CircuitBreaker
from lite.backends.remote_config import RemoteConfig, Secret
from lite.backends.remote_sse import EventReader
from lite.backends.remote_wire import JSON, error_of

__all__ = ["RemoteClient", "RemoteFailure", "Stream", "Tally"]

_RETRYABLE = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 529))
_MOST_ERROR_BYTES = 64 * 1024


class RemoteFailure(Exception):
    """A request has come to nothing. The message is one line and holds no key."""

    def __init__(self, message: str, *, retry: bool = False, is_fault: bool = True, wait: float | None = None) -> None:
        super().__init__(message)
        self.retry = retry
        self.is_fault = is_fault  # the server's or the network's, so that the breaker counts it
        self.wait = wait  # seconds that the server asks for
        self.status: int | None = None


@dataclass(slots=True)
class Tally:
    """What was sent on behalf of one call."""

    requests: int = 0
    hedges: int = 0  # of them, those that were hung up on because another was sooner


class Stream:
    """The messages of one response, the first of them already there."""

    def __init__(self, response: httpx.Response, most_bytes: int) -> None:
        self._response = response
        self._left = most_bytes
        self._ready: deque[JSON | None] = deque()  # None is the end
        self._messages = self._read()

    async def peek(self) -> None:
        """Wait for the first message."""
        self._ready.append(await anext(self._messages, None))

    async def next(self) -> JSON | None:
        """The next message; None when the stream has ended as it should. Raises RemoteFailure."""
        return self._ready.popleft() if self._ready else await anext(self._messages, None)

    async def close(self) -> None:
        """Hang up."""
        await self._messages.aclose()
        await self._response.aclose()

    def _read(self) -> AsyncGenerator[JSON, None]:
        kind = self._response.headers.get("content-type", "").partition(";")[0].strip().lower()
        return self._events() if kind == "text/event-stream" else self._whole()

    async def _events(self) -> AsyncGenerator[JSON, None]:
        reader = EventReader()
        async with aclosing(self._pieces()) as pieces:
            async for piece in pieces:
                for event in _fed(reader, piece):
                    if event.strip() == "[DONE]":
                        return
                    yield _parsed(event)
        last = reader.rest()
        if last is not None and last.strip() == "[DONE]":
            return
        if last:
            yield _parsed(last)
        raise RemoteFailure("the stream ended without its [DONE]", retry=True)

    async def _whole(self) -> AsyncGenerator[JSON, None]:
        async with aclosing(self._pieces()) as pieces:
            body = b"".join([piece async for piece in pieces])
        yield _parsed(body.decode("utf-8", "replace"))

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        """Whoever reads them closes them: one that is left to be collected outlives the loop."""
        encoding = self._response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise RemoteFailure(f"the answer is compressed ({encoding[:20]}), which was not asked for")
        try:
            async with aclosing(cast("AsyncGenerator[bytes, None]", self._response.aiter_raw())) as pieces:
                async for piece in pieces:
                    self._left -= len(piece)
                    if self._left < 0:
                        raise RemoteFailure("the answer is longer than most_bytes allows")
                    yield piece
        except httpx.HTTPError as error:
            raise RemoteFailure(_told(error), retry=True) from error


class RemoteClient:
    """One server. `start` before, `close` after; both in the loop."""

    def __init__(
        self, config: RemoteConfig, key: Secret, *, clock: Callable[[], float], jitter: Callable[[], float]
    ) -> None:
        self._config = config
        self._key = key
        self._jitter = jitter
        self.breaker = CircuitBreaker(config.breaker_failures, config.breaker_seconds, clock)
        self._client: httpx.AsyncClient | None = None

    async def get(self, path: str) -> JSON:
        """A small document. Raises RemoteFailure."""
        tally = Tally()
        async with asyncio.timeout(self._config.connect_seconds + self._config.read_seconds):
            stream = await self._send("GET", path, None, tally)
        try:
            return await stream.next() or {}
        finally:
            await stream.close()

    async def open(self, path: str, body: JSON, tally: Tally) -> Stream:
        """Send until an answer begins. Raises RemoteFailure when the retries are used up, or would not help.

        Whoever gets a stream tells the breaker how it ended.
        """
        attempt = 0
        while True:
            if not self.breaker.allow():
                left = self.breaker.seconds_left
                raise RemoteFailure(
                    f"not asked: it failed {self._config.breaker_failures} times in a row; next try in {left:.0f} s",
                    is_fault=False,
                )
            try:
                return await self._hedged(path, body, tally)
            except RemoteFailure as failure:
                self._tell_breaker(failure)
                wait = self._wait(attempt, failure)
            except BaseException:
                self.breaker.abandoned()
                raise
            await asyncio.sleep(wait)
            attempt += 1

    def without_key(self, text: str) -> str:
        """A message that may be shown."""
        return self._key.removed_from(text)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    def _tell_breaker(self, failure: RemoteFailure) -> None:
        if failure.is_fault:
            self.breaker.failed()
        else:
            self.breaker.succeeded()

    def _wait(self, attempt: int, failure: RemoteFailure) -> float:
        """Seconds before the next attempt: full jitter, and not sooner than the server asks. Raises the failure."""
        if not failure.retry or attempt >= self._config.retries:
            raise failure
        wait = self._jitter() * self._config.backoff_seconds * 2.0**attempt
        if failure.wait is not None:
            wait += failure.wait
        if wait > self._config.longest_wait_seconds:
            if failure.wait is None:
                return self._config.longest_wait_seconds
            failure.args = (f"{failure}; it asks for {failure.wait:.0f} s, more than longest_wait_seconds",)
            raise failure
        return wait

    async def _hedged(self, path: str, body: JSON, tally: Tally) -> Stream:
        """The stream that says something first: of one request, or of two when the first takes long."""
        if self._config.hedge_seconds is None:
            return await self._send("POST", path, body, tally)
        racers = [asyncio.create_task(self._send("POST", path, body, tally))]
        try:
            await asyncio.wait(racers, timeout=self._config.hedge_seconds)
            if not racers[0].done():
                racers.append(asyncio.create_task(self._send("POST", path, body, tally)))
            return await _first(racers)
        finally:
            tally.hedges += await _drop(racers)

    async def _send(self, method: str, path: str, body: JSON | None, tally: Tally) -> Stream:
        """One request, up to its first message."""
        client = self._started()
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        request = client.build_request(method, self._config.url.rstrip("/") + path, content=content)
        tally.requests += 1
        try:
            response = await client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise RemoteFailure(_told(error), retry=True) from error
        stream = Stream(response, self._config.most_bytes)
        try:
            if response.status_code != 200:
                raise await self._refusal(response)
            await stream.peek()
        except BaseException:
            await stream.close()
            raise
        return stream

    async def _refusal(self, response: httpx.Response) -> RemoteFailure:
        status = response.status_code
        said = self._key.removed_from(await _excerpt(response))
        hints = {
            401: "the key was refused: see key_env, keyring and key_file",
            403: "the key may not do this",
            404: "no such model or endpoint: see model, url and api",
        }
        told = f"HTTP {status}" + (f": {said}" if said else "") + (f" ({hints[status]})" if status in hints else "")
        if 300 <= status < 400:
            told = f"HTTP {status}: redirects are not followed, as they could carry the key elsewhere: correct the url"
        failure = RemoteFailure(
            told,
            retry=status in _RETRYABLE,
            is_fault=status >= 500 or status in _RETRYABLE,
            wait=retry_after(response.headers.get("retry-after"), time.time()),
        )
        failure.status = status
        return failure

    def _started(self) -> httpx.AsyncClient:
        if self._client is None:
            config = self._config
            headers = {"Accept-Encoding": "identity", "Content-Type": "application/json", "User-Agent": "lite"}
            if self._key:
                headers["Authorization"] = f"Bearer {self._key.reveal()}"
            self._client = httpx.AsyncClient(
                headers=headers,
                timeout=httpx.Timeout(config.read_seconds, connect=config.connect_seconds, pool=None),
                limits=httpx.Limits(max_connections=2 * config.concurrency),
                verify=_trust(config),
                proxy=config.proxy or None,
                trust_env=False,  # no proxy, no certificate and no .netrc that the caller has not named
                follow_redirects=False,
            )
        return self._client


def _trust(config: RemoteConfig) -> ssl.SSLContext | bool:
    """Certificates are verified; none are read, which takes long, where nothing is encrypted."""
    if config.ca_file:
        return ssl.create_default_context(cafile=config.ca_file)
    return urlsplit(config.url).scheme != "http" or bool(config.proxy)


def retry_after(told: str | None, now: float) -> float | None:
    """Seconds to wait, from a number of seconds or an HTTP date (RFC 9110, section 10.2.3); None for anything else."""
    if told is None:
        return None
    if told.strip().isdecimal():
        return float(told)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(told).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None


async def _first(racers: list["asyncio.Task[Stream]"]) -> Stream:
    """The first racer's stream that comes; when all fail, the first one's failure. The earlier wins a tie."""
    waiting = set(racers)
    while waiting:
        _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for racer in racers:
            if racer.done() and racer.exception() is None:
                racers.remove(racer)
                return racer.result()
    raise racers[0].exception() or RemoteFailure("nothing was sent")


async def _drop(racers: list["asyncio.Task[Stream]"]) -> int:
    """Hang up on those that lost; how many had not ended by themselves."""
    for racer in racers:
        racer.cancel()
    outcomes = await asyncio.gather(*racers, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Stream):
            await outcome.close()
    return sum(not isinstance(outcome, RemoteFailure) for outcome in outcomes)


async def _excerpt(response: httpx.Response) -> str:
    """What the server says of its refusal, as far as it can be read."""
    body = b""
    try:
        async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > _MOST_ERROR_BYTES:
                    break
        return error_of(json.loads(body)) or ""
    except (httpx.HTTPError, ValueError, RecursionError):
        return ""


def _fed(reader: EventReader, piece: bytes) -> list[str]:
    try:
        return reader.feed(piece)
    except ValueError as error:
        raise RemoteFailure(f"the stream is damaged: {error}") from error


def _parsed(text: str) -> JSON:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RemoteFailure(f"the answer is no JSON ({len(text)} characters)") from error
    if not isinstance(message, dict):
        raise RemoteFailure("the answer is no JSON object")
    return message


def _told(error: httpx.HTTPError) -> str:
    """What happened on the network, without addresses and headers."""
    names = {
        httpx.ConnectTimeout: "no connection within connect_seconds",
        httpx.ReadTimeout: "silent for longer than read_seconds",
        httpx.WriteTimeout: "took no request within read_seconds",
        httpx.ConnectError: "no connection",
    }
    what = next((told for kind, told in names.items() if isinstance(error, kind)), "the connection broke")
    reason = " ".join(str(error).split())[:120]
    return f"{what} ({reason})" if reason and not isinstance(error, httpx.TimeoutException) else what

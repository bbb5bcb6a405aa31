"""A Sampler over any OpenAI-compatible server: llama-server, vLLM, Ollama, a hosted one.

    config = RemoteConfig(url="http://127.0.0.1:8080/v1")
    with closing(RemoteSampler(config)) as remote:
        answer, = run(Cascade(), [question], {"local": local, "remote": remote})

No socket is opened before the first branch is started or `can` is asked for, and none at all with `offline`. A branch
that comes to nothing ends with the reason "failed", keeping what had come of it, and the others go on; one that the
user's own rules keep here ends with "withheld". `failures` says why. Certainty and entropy need the whole vocabulary,
which no such server tells, so they are never reported.
"""

import asyncio
import logging
import queue
import random
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from lite.backends.remote_breaker import State
from lite.backends.remote_config import RemoteConfig
from lite.backends.remote_loop import LoopThread
from lite.backends.remote_wire import body_of, may_be_sent
from lite.errors import BackendError, InvalidRequest, MissingExtra
from lite.ledger import Ledger
from lite.sampler import Ability, Chunk, Event, Finished, Reason, Request, Traits

if TYPE_CHECKING:
    from lite.backends.remote_call import Call, Note
    from lite.backends.remote_client import RemoteClient
    from lite.backends.remote_probe import Found

__all__ = ["RemoteConfig", "RemoteSampler"]

_log = logging.getLogger("lite.remote")

_POLL_SECONDS = 0.2  # how often a waiting step looks whether its thread is still there


class RemoteSampler:
    """Implements `lite.sampler.Sampler`.

    `clock` tells the circuit breaker's seconds, `jitter` a number in [0, 1) for the wait before a retry. Raises
    UsageError where the key or the certificates cannot be had, MissingExtra without httpx.
    """

    def __init__(
        self,
        config: RemoteConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        try:
            from lite.backends.remote_client import RemoteClient
        except ImportError as error:
            raise MissingExtra("the remote sampler", "remote") from error
        config.check_files()
        self._config = config
        self._client = RemoteClient(config, config.read_key(), clock=clock, jitter=jitter)
        self._loop = LoopThread(f"lite remote {config.host}")
        self._slots = asyncio.Semaphore(config.concurrency)
        self._notes: queue.SimpleQueue[Note] = queue.SimpleQueue()
        self._live: dict[Request, Call | None] = {}  # their Finished not yet returned; None where nothing was sent
        self._cancelled: set[Request] = set()  # of the live ones
        self._known: weakref.WeakSet[Request] = weakref.WeakSet()
        self._failures: weakref.WeakKeyDictionary[Request, str] = weakref.WeakKeyDictionary()
        self._found: Found | None = None
        self._found_at = 0.0
        self._clock = clock
        self._is_closed = False
        self._finalizer = weakref.finalize(self, _hang_up, self._loop, self._client)

    @property
    def can(self) -> frozenset[Ability]:
        """As configured, or found out with one request and remembered; nothing while the server cannot be reached."""
        if self._config.can is not None:
            return self._config.can
        return self._discovered().can if self._may_ask else frozenset()

    @property
    def traits(self) -> Traits:
        return self._config.traits

    @property
    def failures(self) -> Mapping[Request, str]:
        """Why a branch failed or was withheld, for as long as its request is held by somebody."""
        return self._failures

    @property
    def breaker(self) -> State:
        """Whether the circuit breaker lets requests through."""
        return self._client.breaker.state

    @property
    def probe_cost(self) -> Ledger:
        """What it cost to find out what the server can do: no answer's ledger holds it."""
        return self._found.cost if self._found else Ledger()

    def start(self, requests: Sequence[Request]) -> None:
        """Raises InvalidRequest for what this server cannot be sent, BackendError once closed; then none has started.

        Samples of one prompt go out as one request where the server takes `n`.
        """
        if self._is_closed:
            raise BackendError(f"the remote sampler {self._config.host} is closed: make another")
        withheld = {request: self._objection(request) for request in requests}
        if len(withheld) < len(requests):
            raise InvalidRequest("a Request is one branch: to draw another, make another Request")
        for request in requests:
            self._check(request, is_sent=not withheld[request])
        self._known.update(requests)
        for request, objection in withheld.items():
            if objection:
                self._withhold(request, objection)
        for group in self._groups([request for request in requests if not withheld[request]]):
            self._send(group)

    def cancel(self, request: Request, at: int | None = None, reason: Reason = "cancelled") -> None:
        """The connection is closed at once where no other sample uses it; the Finished comes with a later step."""
        call = self._live.get(request)
        if call is None or request in self._cancelled:
            return
        self._cancelled.add(request)
        self._loop.post(call.cancel, request, at, reason)

    def step(self, *, wait: bool) -> Sequence[Event]:
        """Raises BackendError once closed."""
        if self._is_closed:
            raise BackendError(f"the remote sampler {self._config.host} is closed: make another")
        events = list(self._arrived())
        while wait and not events and self._live:
            try:
                note = self._notes.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if not self._loop.is_alive:
                    raise BackendError(f"the remote sampler {self._config.host}: its thread has died") from None
                continue
            events = [*self._read(note), *self._arrived()]
        return events

    def close(self) -> None:
        """Hang up and join the thread; idempotent."""
        self._is_closed = True
        self._live.clear()
        self._finalizer()

    @property
    def _may_ask(self) -> bool:
        return not (self._config.offline or self._is_closed)

    def _objection(self, request: Request) -> str:
        """Why the request may not leave the machine; "" where it may."""
        if self._config.offline:
            return "offline: nothing is sent"
        return "" if may_be_sent(request, self._config) else "a privacy pattern matches: nothing was sent"

    def _check(self, request: Request, *, is_sent: bool) -> None:
        if request in self._known:
            raise InvalidRequest("a Request is one branch: to draw another, make another Request")
        for ability, used in (("fork", request.parent is not None), ("score", request.score)):
            if used:
                raise InvalidRequest(f"the remote sampler {self._config.host} cannot {ability}")
        if is_sent:
            body_of([request], self._config, "", frozenset())

    def _withhold(self, request: Request, objection: str) -> None:
        from lite.backends.remote_call import Note

        self._live[request] = None
        self._notes.put(Note(Finished(request, "withheld", Ledger(branches=1)), objection))
        _log.warning("remote sampler %s: %s", self._config.host, objection)

    def _groups(self, requests: Sequence[Request]) -> Iterable[Sequence[Request]]:
        """Those that one request to the server can draw together."""
        takes_n = self._config.batch_samples
        if takes_n is None and len(requests) > 1:
            takes_n = self._discovered().takes_n
        if not takes_n:
            return [[request] for request in requests]
        groups: dict[object, list[Request]] = {}
        for request in requests:
            groups.setdefault((request.prompt, request.params, request.prefix), []).append(request)
        return groups.values()

    def _send(self, group: Sequence[Request]) -> None:
        from lite.backends.remote_call import Call

        call = Call(group, self._config, self._notes.put)
        self._live.update(dict.fromkeys(group, call))
        model, can = self._config.model, self._config.can
        if can is None or not model:
            found = self._discovered()
            model, can = found.model, found.can
        self._loop.post(_launch, call, self._slots, self._client, model, can)

    def _discovered(self) -> "Found":
        """What a request of one token showed; asked again later when there was no answer."""
        from lite.backends.remote_probe import probe

        found = self._found
        is_stale = found is not None and found.failure and self._clock() - self._found_at > self._config.breaker_seconds
        if found is None or is_stale:
            found = self._found = self._loop.run(lambda: probe(self._client, self._config))
            self._found_at = self._clock()
            if found.failure:
                _log.warning("remote sampler %s: %s", self._config.host, found.failure)
        return found

    def _arrived(self) -> Iterable[Event]:
        while True:
            try:
                note = self._notes.get_nowait()
            except queue.Empty:
                return
            yield from self._read(note)

    def _read(self, note: "Note") -> Iterable[Event]:
        """The note's event, unless it is a token that came after its branch was cancelled."""
        event = note.event
        if event.request not in self._live:
            return
        if isinstance(event, Chunk):
            if event.request not in self._cancelled:
                yield event
            return
        del self._live[event.request]
        self._cancelled.discard(event.request)
        if note.failure:
            self._failures[event.request] = note.failure
        yield event


def _launch(
    call: "Call", slots: asyncio.Semaphore, client: "RemoteClient", model: str, can: frozenset[Ability]
) -> None:
    """In the loop: serve the call as soon as there is a free slot."""

    async def serve() -> None:
        async with slots:
            await call.serve(client, model, can)

    call.task = asyncio.get_running_loop().create_task(serve())


def _hang_up(loop: LoopThread, client: "RemoteClient") -> None:
    if loop.is_alive:
        loop.run(lambda: _end_tasks(client))
    loop.close()


async def _end_tasks(client: "RemoteClient") -> None:
    """End every call, then the connections that were kept for the next one."""
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await client.close()

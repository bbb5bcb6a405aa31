"""One thread that owns an engine, so that any thread, event loop or Ctrl-C may call on it.

A KeyboardInterrupt lands in the main thread only, never in the middle of an engine's step: it asks the job to stop,
the job stops at the next step, and the engine stays usable.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from lite.errors import Interrupted, UsageError

__all__ = ["Job", "Worker"]

Update = TypeVar("Update")
Outcome = TypeVar("Outcome")

_STOPPED = "the call was stopped: it was cancelled, or the model was closed"
_SHORTEST_REST, _LONGEST_REST = 0.0005, 0.02  # seconds, when nothing came for any job
_POLL_SECONDS = 0.2  # Windows delivers Ctrl-C only between two waits


class Job(Generic[Update, Outcome]):
    """A generator that a Worker drives: its yields are `updates`, its return value is the `outcome`."""

    def __init__(
        self, work: Callable[[], Generator[Update, None, Outcome]], *, keep_updates: bool, alone: bool = False
    ) -> None:
        """`alone` keeps other jobs waiting while it runs."""
        self.outcome: Future[Outcome] = Future()
        self.alone = alone
        self._work = work
        self._generator: Generator[Update, None, Outcome] | None = None  # made in the worker's thread
        self._keep_updates = keep_updates
        self._driver: threading.Thread | None = None  # the worker's thread, once it has begun
        self._updates: queue.SimpleQueue[Update | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self.outcome.set_running_or_notify_cancel()  # from here on only `cancel` ends it early

    def cancel(self) -> None:
        """Stop after the step that is under way, or within a long one; returns at once. A no-op for one that ended."""
        self._stop.set()

    @property
    def is_cancelled(self) -> bool:
        return self._stop.is_set()

    def wait(self) -> Outcome:
        """The outcome, or the error that ended it. An interrupt cancels the job and waits until it has stopped."""
        for _ in self.updates():
            pass
        return self.outcome.result()

    def updates(self) -> Generator[Update, None, None]:
        """The yields as they come. Leaving the loop early cancels the job and waits until it has stopped."""
        try:
            while (update := self._next()) is not None:
                yield update
        finally:
            self.cancel()
            self._until_ended()

    def advance(self) -> bool:
        """Drive the work by one update; False once it has ended. Called by the worker."""
        try:
            self._driver = threading.current_thread()
            if self._generator is None:
                self._generator = self._work()
            if not self.is_cancelled:
                update = next(self._generator)
                if self._keep_updates:
                    self._updates.put(update)
                return True
            self._generator.close()
            self.refuse(UsageError(_STOPPED))
        except StopIteration as end:
            self.outcome.set_result(end.value)
            self._updates.put(None)
        except Interrupted:
            self.refuse(UsageError(_STOPPED))
        except BaseException as error:  # noqa: BLE001  # whatever ended the job is raised where its outcome is read
            self.refuse(error)
        return False

    def refuse(self, error: BaseException) -> None:
        """End the job with an error."""
        self.outcome.set_exception(error)
        self._updates.put(None)

    def _next(self) -> Update | None:
        while True:
            try:
                return self._updates.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue

    def _until_ended(self) -> None:
        """Not in the worker's own thread, where a dropped stream may come to be collected: it would wait for itself."""
        while not self.outcome.done() and threading.current_thread() is not self._driver:
            try:
                self.outcome.exception(timeout=_POLL_SECONDS)
            except TimeoutError:
                continue


class Worker:
    """Drives jobs in a thread of its own, all together: each in its turn, an update at a time.

    `release` is called once, in that thread, by `close`. `progress` counts what the jobs wait for: while it stands
    still the worker rests.
    """

    def __init__(self, release: Callable[[], None], progress: Callable[[], int] = lambda: 0) -> None:
        self._release = release
        self._progress = progress
        self._changed = threading.Condition()
        self._waiting: deque[Job[Any, Any]] = deque()
        self._active: list[Job[Any, Any]] = []
        self._current: Job[Any, Any] | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="lite", daemon=True)
        self._thread.start()

    def submit(self, job: Job[Any, Any]) -> None:
        """Queue a job. Raises UsageError once closed, and for a job of this worker that asks for another."""
        if threading.current_thread() is self._thread:
            raise UsageError("a strategy cannot call on its own model: it would wait for itself")
        with self._changed:
            if self._closed:
                raise UsageError("the model is closed: load it again")
            self._waiting.append(job)
            self._changed.notify()

    def is_cancelled(self) -> bool:
        """Whether the job whose turn it is is to stop."""
        job = self._current
        return job is not None and job.is_cancelled

    def rest(self, seconds: float) -> None:
        """Sleep for a job's sake, unless others would sleep with it."""
        if len(self._active) < 2:
            time.sleep(seconds)

    def close(self) -> None:
        """Stop the jobs under way, refuse those that wait, release the engine; idempotent, from any thread."""
        with self._changed:
            self._closed = True
            for job in list(self._active):
                job.cancel()
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _serve(self) -> None:
        idle_rounds = 0
        while self._begin():
            before = self._progress()
            for job in list(self._active):
                self._current = job
                if not job.advance():
                    self._active.remove(job)
            self._current = None
            is_idle = bool(self._active) and self._progress() == before
            idle_rounds = idle_rounds + 1 if is_idle else 0
            if is_idle:
                time.sleep(min(_LONGEST_REST, _SHORTEST_REST * 2 ** min(idle_rounds, 16)))
        self._release()

    def _begin(self) -> bool:
        """Make active what may begin; waits for a job where there is none. False once closed and done."""
        with self._changed:
            while not (self._waiting or self._active or self._closed):
                self._changed.wait()
            while self._waiting and self._closed:
                self._waiting.popleft().refuse(UsageError("the model was closed before the call began"))
            for job in [job for job in self._waiting if job.is_cancelled]:
                self._waiting.remove(job)
                job.refuse(UsageError(_STOPPED))
            while self._waiting and self._may_begin(self._waiting[0]):
                self._active.append(self._waiting.popleft())
            return bool(self._active)

    def _may_begin(self, job: Job[Any, Any]) -> bool:
        return not self._active or not (job.alone or self._active[0].alone)

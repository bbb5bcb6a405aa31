"""One thread that owns an engine, so that any thread, event loop or Ctrl-C may call on it.

A KeyboardInterrupt lands in the main thread only, never in the middle of an engine's step: it asks the job to stop,
the job stops at the next step, and the engine stays usable.
"""

import queue
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from lite.errors import UsageError

__all__ = ["Job", "Worker"]

Update = TypeVar("Update")
Outcome = TypeVar("Outcome")

_POLL_SECONDS = 0.2  # Windows delivers Ctrl-C only between two waits


class Job(Generic[Update, Outcome]):
    """A generator that a Worker drives: its yields are `updates`, its return value is the `outcome`."""

    def __init__(self, work: Callable[[], Generator[Update, None, Outcome]], *, keep_updates: bool) -> None:
        self.outcome: Future[Outcome] = Future()
        self._work = work
        self._keep_updates = keep_updates
        self._updates: queue.SimpleQueue[Update | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self.outcome.set_running_or_notify_cancel()  # from here on only `cancel` ends it early

    def cancel(self) -> None:
        """Stop after the step that is under way; returns at once. A no-op when the job has ended."""
        self._stop.set()

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

    def run(self) -> None:
        """Drive the work to its end; called by the worker."""
        try:
            self.outcome.set_result(self._drive())
        except BaseException as error:  # noqa: BLE001  # whatever ended the job is raised where its outcome is read
            self.outcome.set_exception(error)
        finally:
            self._updates.put(None)

    def refuse(self, error: Exception) -> None:
        """End a job that never ran."""
        self.outcome.set_exception(error)
        self._updates.put(None)

    def _drive(self) -> Outcome:
        work = self._work()
        try:
            while not self._stop.is_set():
                try:
                    update = next(work)
                except StopIteration as end:
                    outcome: Outcome = end.value
                    return outcome
                if self._keep_updates:
                    self._updates.put(update)
        finally:
            work.close()
        raise UsageError("the call was stopped: it was cancelled, or the model was closed")

    def _next(self) -> Update | None:
        while True:
            try:
                return self._updates.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue

    def _until_ended(self) -> None:
        while not self.outcome.done():
            try:
                self.outcome.exception(timeout=_POLL_SECONDS)
            except TimeoutError:
                continue


class Worker:
    """Runs jobs one after the other in a thread of its own. `release` is called once, in that thread, by `close`."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release
        self._jobs: queue.SimpleQueue[Job[Any, Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._current: Job[Any, Any] | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="lite", daemon=True)
        self._thread.start()

    def submit(self, job: Job[Any, Any]) -> None:
        """Queue a job. Raises UsageError once closed, and for a job of this worker that asks for another."""
        if threading.current_thread() is self._thread:
            raise UsageError("a strategy cannot call on its own model: it would wait for itself")
        with self._lock:
            if self._closed:
                raise UsageError("the model is closed: load it again")
            self._jobs.put(job)

    def close(self) -> None:
        """Stop the job under way, refuse those that wait, release the engine; idempotent, from any thread."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
            if self._current is not None:
                self._current.cancel()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            with self._lock:
                refused, self._current = self._closed, job
            if refused:
                job.refuse(UsageError("the model was closed before the call began"))
            else:
                job.run()
            self._current = None
        self._release()

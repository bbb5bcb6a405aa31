"""One event loop in one thread, for all that waits on the network."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["LoopThread"]

Value = TypeVar("Value")


class LoopThread:
    """Runs from the first use to `close`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False

    @property
    def is_alive(self) -> bool:
        """False before the first use and after `close`."""
        return self._thread is not None and self._thread.is_alive()

    def post(self, action: Callable[..., object], *args: object) -> None:
        """Call it in the loop, soon; in the order of the posts. No effect once closed."""
        loop = self._started()
        if loop is not None:
            loop.call_soon_threadsafe(action, *args)

    def run(self, work: Callable[[], Coroutine[Any, Any, Value]]) -> Value:
        """Run it in the loop and wait for what it returns. Raises RuntimeError once closed."""
        loop = self._started()
        if loop is None:
            raise RuntimeError("the loop is closed")
        return asyncio.run_coroutine_threadsafe(work(), loop).result()

    def close(self) -> None:
        """End all that runs in the loop, then the thread; idempotent."""
        with self._lock:
            self._is_closed = True
            loop, thread = self._loop, self._thread
        if loop is None or thread is None or not thread.is_alive():
            return
        loop.call_soon_threadsafe(loop.stop)
        if thread is not threading.current_thread():
            thread.join()

    def _started(self) -> asyncio.AbstractEventLoop | None:
        with self._lock:
            if self._is_closed:
                return None
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(self._loop,), name=self._name, daemon=True)
                self._thread.start()
            return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        asyncio.set_event_loop(None)
        loop.close()

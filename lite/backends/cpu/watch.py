"""Ending a long call of a library from outside of it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["watched"]

_SECONDS = 0.02  # between two looks


@contextmanager
def watched(stop: Callable[[], bool], end: Callable[[], None]) -> Iterator[None]:
    """While the `with` lasts, ask `stop` in a thread now and then; once it says True, call `end`."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(_SECONDS):
            if stop():
                end()
                return

    thread = threading.Thread(target=look, name="lite-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()

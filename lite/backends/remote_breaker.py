"""The circuit breaker: a server that keeps failing is left alone for a while, then tried with one request."""

from collections.abc import Callable
from typing import Literal, TypeAlias

__all__ = ["CircuitBreaker", "State"]

State: TypeAlias = Literal["closed", "open", "half-open"]


class CircuitBreaker:
    """Used from one thread. Every `allow` that is granted is followed by one of the three outcomes."""

    def __init__(self, failures: int, seconds: float, clock: Callable[[], float]) -> None:
        self._most = failures
        self._seconds = seconds
        self._clock = clock
        self._failures = 0  # in a row
        self._opened: float | None = None
        self._is_trying = False

    @property
    def state(self) -> State:
        if self._opened is None:
            return "closed"
        return "open" if self._clock() < self._opened + self._seconds else "half-open"

    @property
    def seconds_left(self) -> float:
        """Until a request may try again."""
        return 0.0 if self._opened is None else max(0.0, self._opened + self._seconds - self._clock())

    def allow(self) -> bool:
        """Whether a request may be sent now; half-open, one at a time may."""
        if self.state == "half-open" and not self._is_trying:
            self._is_trying = True
            return True
        return self.state == "closed"

    def succeeded(self) -> None:
        """The server answered."""
        self._failures, self._opened, self._is_trying = 0, None, False

    def failed(self) -> None:
        """The server, or the way to it, failed."""
        self._failures += 1
        if self._is_trying or self._failures >= self._most:
            self._opened = self._clock()
        self._is_trying = False

    def abandoned(self) -> None:
        """We hung up: nothing is known of the server."""
        self._is_trying = False

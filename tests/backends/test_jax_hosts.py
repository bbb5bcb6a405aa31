"""Processes find each other or tell who is missing; JAX itself is not needed for this."""

import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial

import pytest

from lite.backends.jax.hosts import meet
from lite.devices import Hosts
from lite.errors import BackendError

LONG, SHORT = 120.0, 0.3  # seconds


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def number(index: int, count: int, port: int) -> Hosts:
    return Hosts(index=index, count=count, host="localhost", port=port)


def test_all_go_on_once_all_are_there_whoever_comes_first(threads: ThreadPoolExecutor, port: int) -> None:
    for order in ((0, 1, 2), (2, 1, 0)):
        waiting: list[Future[None]] = [threads.submit(meet, number(index, 3, port), LONG) for index in order[:2]]
        with pytest.raises(TimeoutError):
            waiting[0].result(SHORT)
        meet(number(order[2], 3, port), LONG)
        assert [each.result(LONG) for each in waiting] == [None, None]


def test_nobody_waits_for_nobody(port: int) -> None:
    meet(number(0, 1, port), LONG)


def test_the_first_names_those_who_did_not_come(
    threads: ThreadPoolExecutor, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    came = threads.submit(meet, number(2, 4, port), LONG)
    with pytest.raises(BackendError, match=rf"of 4 processes these did not come to localhost:{port}: 1, 3"):
        meet(number(0, 4, port), 1.0)
    with pytest.raises(BackendError, match="did not let this process in as number 2: it hung up"):
        came.result(LONG)
    assert f"number 0 of 4: waiting for 3 more at localhost:{port}, for 1 s at most" in caplog.messages


def test_the_others_tell_that_the_first_did_not_come(port: int) -> None:
    with pytest.raises(BackendError, match=rf"number 0 did not come to localhost:{port}: Connection refused"):
        meet(number(1, 2, port), SHORT)


def test_who_does_not_belong_there_is_told_why_and_keeps_nobody_out(threads: ThreadPoolExecutor, port: int) -> None:
    first = threads.submit(meet, number(0, 3, port), LONG)
    replaced = threads.submit(meet, number(1, 3, port), LONG)
    with pytest.raises(BackendError, match="waits for 3 processes in all, not 2"):
        meet(number(1, 2, port), LONG)
    with socket.create_connection(("localhost", port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n")
        assert stranger.recv(100) == b"this is lite, waiting for processes of its own\n"
    again = threads.submit(partial(meet, number(1, 3, port), LONG))
    with pytest.raises(BackendError, match="another process has come as number 1"):
        replaced.result(LONG)
    meet(number(2, 3, port), LONG)
    assert (first.result(LONG), again.result(LONG)) == (None, None)


def test_one_that_has_gone_again_is_waited_for(threads: ThreadPoolExecutor, port: int) -> None:
    first = threads.submit(meet, number(0, 3, port), LONG)
    other = threads.submit(meet, number(2, 3, port), LONG)
    with closing(connected(port)) as gone:
        gone.sendall(b"lite 1/3\n")
    with pytest.raises(TimeoutError):
        first.result(SHORT)
    meet(number(1, 3, port), LONG)
    assert (first.result(LONG), other.result(LONG)) == (None, None)


def connected(port: int) -> socket.socket:
    """Once somebody listens there."""
    while True:
        with suppress(ConnectionRefusedError):
            return socket.create_connection(("localhost", port))


def test_what_is_no_name_is_refused_at_once(port: int) -> None:
    with pytest.raises(BackendError, match=r"'a\.\.b' is no host's name"):
        meet(Hosts(index=1, count=2, host="a..b", port=port), LONG)


def test_a_port_in_use_is_named(port: int) -> None:
    with socket.create_server(("", port)), pytest.raises(BackendError, match=f"cannot listen at port {port}"):
        meet(number(0, 2, port), SHORT)

"""The remote sampler's parts that need no server: server-sent events, waits, trust, and a missing extra."""

import ssl
import sys
from email.utils import formatdate
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lite.backends.remote import RemoteConfig, RemoteSampler
from lite.backends.remote_breaker import CircuitBreaker
from lite.backends.remote_client import _trust, retry_after
from lite.backends.remote_sse import EventReader
from lite.errors import MissingExtra, UsageError

STREAM = "\ufeffdata: a\r\n\r\n: note\nevent: x\ndata:b\ndata: c\n\nid: 4\rdata:  ü\r\rdata: end".encode()
EVENTS = ["a", "b\nc", " ü", "end"]


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=12))
@settings(max_examples=80, deadline=None, derandomize=True, database=None)
def test_events_are_the_same_wherever_the_network_cuts_the_stream(cuts: list[int]) -> None:
    reader = EventReader()
    places = [0, *sorted(cuts), len(STREAM)]
    events = [event for a, b in pairwise(places) for event in reader.feed(STREAM[a:b])]
    assert [*events, reader.rest()] == EVENTS


def test_an_event_without_end_is_refused() -> None:
    reader = EventReader(most_event_bytes=100)
    for _ in range(9):
        reader.feed(b"data: 123456789\n")
    with pytest.raises(ValueError, match="more than 100 bytes"):
        reader.feed(b"data: 123456789\n")


@pytest.mark.parametrize(
    ("told", "seconds"),
    [(None, None), ("7", 7), ("soon", None), ("-1", None), (formatdate(1_000_030, usegmt=True), 30), ("", None)],
)
def test_retry_after_is_read_in_both_its_forms(told: str | None, seconds: float | None) -> None:
    assert retry_after(told, now=1_000_000) == seconds


def test_a_date_that_has_passed_is_no_wait() -> None:
    assert retry_after(formatdate(999_000, usegmt=True), now=1_000_000) == 0


@pytest.mark.parametrize("url", ["https://example.org/v1", "HTTPS://example.org/v1"])
def test_certificates_are_verified(url: str) -> None:
    assert _trust(RemoteConfig(url=url)) is True
    assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED


def test_a_certificate_file_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="ca_file"):
        RemoteSampler(RemoteConfig(url="https://example.org/v1", ca_file="/nowhere.pem"))


def test_half_open_lets_one_request_through_and_a_failure_opens_it_again() -> None:
    now = [0.0]
    breaker = CircuitBreaker(1, 10, lambda: now[0])
    assert breaker.allow()
    breaker.failed()
    assert (breaker.state, breaker.allow(), breaker.seconds_left) == ("open", False, 10)
    now[0] = 10
    assert (breaker.allow(), breaker.allow()) == (True, False)
    breaker.failed()
    assert breaker.state == "open"
    now[0] = 20
    assert breaker.allow()
    breaker.abandoned()
    assert breaker.allow()
    breaker.succeeded()
    assert (breaker.state, breaker.allow()) == ("closed", True)


def test_without_httpx_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "lite.backends.remote_client")
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingExtra, match=r"pip install 'lite-runtime\[remote\]'"):
        RemoteSampler(RemoteConfig(url="http://127.0.0.1:1/v1"))

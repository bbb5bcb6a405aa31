"""A long call is ended from outside, and one that nobody ends is left alone."""

import threading

from lite.backends.cpu.watch import watched


def test_ends_the_call_once_it_is_told_to_stop() -> None:
    ended = threading.Event()
    with watched(lambda: True, ended.set):
        assert ended.wait(10)


def test_looks_no_more_when_the_call_is_over() -> None:
    ended = threading.Event()
    before = threading.active_count()
    with watched(lambda: False, ended.set):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    assert not ended.is_set()

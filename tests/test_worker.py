"""The thread that owns an engine: order, cancelling, closing, errors."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager

import pytest

from lite.errors import UsageError
from lite.worker import Job, Worker


class Work:
    """A job's work that yields until it has done `steps`, and tells what became of it."""

    def __init__(self, steps: int | None) -> None:
        self.steps = steps
        self.done = 0
        self.closed = threading.Event()
        self.thread = ""

    def __call__(self) -> Generator[int, None, str]:
        self.thread = threading.current_thread().name
        try:
            while self.steps is None or self.done < self.steps:
                self.done += 1
                yield self.done
            return "outcome"
        finally:
            self.closed.set()


@contextmanager
def working(release: Callable[[], None] = lambda: None) -> Iterator[Worker]:
    with closing(Worker(release)) as worker:
        yield worker


def test_runs_the_job_in_its_own_thread_and_hands_back_the_outcome() -> None:
    work = Work(3)
    with working() as worker:
        job = Job(work, keep_updates=False)
        worker.submit(job)
        assert job.wait() == "outcome"
    assert work.thread == "lite" != threading.current_thread().name


def test_updates_come_in_order_and_none_is_lost() -> None:
    with working() as worker:
        job = Job(Work(5), keep_updates=True)
        worker.submit(job)
        assert list(job.updates()) == [1, 2, 3, 4, 5]
        assert job.outcome.result() == "outcome"


def test_leaving_the_updates_stops_the_work_and_frees_the_worker() -> None:
    endless = Work(None)
    with working() as worker:
        job = Job(endless, keep_updates=True)
        worker.submit(job)
        updates = job.updates()
        assert next(updates) == 1
        updates.close()
        assert endless.closed.is_set()
        following = Job(Work(1), keep_updates=False)
        worker.submit(following)
        assert following.wait() == "outcome"


def test_an_interrupt_while_waiting_stops_the_work_first(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = Work(None)
    job = Job(endless, keep_updates=False)

    def interrupted() -> None:
        while not endless.done:
            time.sleep(0.001)
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "_next", interrupted)
    with working() as worker:
        worker.submit(job)
        with pytest.raises(KeyboardInterrupt):
            job.wait()
        assert endless.closed.is_set()


def test_an_error_of_the_work_is_raised_where_it_is_waited_for() -> None:
    def failing() -> Generator[int, None, str]:
        yield 1
        raise UsageError("no")

    with working() as worker:
        job = Job(failing, keep_updates=False)
        worker.submit(job)
        with pytest.raises(UsageError, match="no"):
            job.wait()


def test_closing_stops_the_job_under_way_refuses_the_waiting_and_releases_once() -> None:
    released: list[str] = []
    endless, waiting = Work(None), Work(1)
    worker = Worker(lambda: released.append(threading.current_thread().name))
    jobs = [Job(work, keep_updates=False) for work in (endless, waiting)]
    for job in jobs:
        worker.submit(job)
    while not endless.done:
        time.sleep(0.001)
    worker.close()
    worker.close()
    for job in jobs:
        with pytest.raises(UsageError, match="closed"):
            job.wait()
    assert released == ["lite"]
    assert endless.closed.is_set()
    assert not waiting.done
    with pytest.raises(UsageError, match="load it again"):
        worker.submit(Job(Work(1), keep_updates=False))


def test_a_job_may_not_wait_for_another_of_its_own_worker() -> None:
    with working() as worker:

        def nested() -> Generator[int, None, str]:
            worker.submit(Job(Work(1), keep_updates=False))
            yield 1
            return "never"

        job = Job(nested, keep_updates=False)
        worker.submit(job)
        with pytest.raises(UsageError, match="own"):
            job.wait()

"""The thread that owns an engine: order, cancelling, closing, errors."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager

import pytest

from lite.errors import Interrupted, UsageError
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


def test_work_that_is_interrupted_ends_as_a_job_that_was_stopped() -> None:
    begun = threading.Event()
    with working() as worker:

        def long() -> Generator[int, None, str]:
            begun.set()
            while not worker.is_cancelled():
                time.sleep(0.001)
            raise Interrupted
            yield 1

        job = Job(long, keep_updates=False)
        worker.submit(job)
        assert begun.wait(10)
        job.cancel()
        with pytest.raises(UsageError, match="the call was stopped"):
            job.outcome.result()
        assert not worker.is_cancelled()


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
    jobs = [Job(work, keep_updates=False, alone=True) for work in (endless, waiting)]
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


def test_jobs_take_turns() -> None:
    first, second = Work(None), Work(3)
    with working() as worker:
        endless = Job(first, keep_updates=False)
        worker.submit(endless)
        following = Job(second, keep_updates=False)
        worker.submit(following)
        assert following.wait() == "outcome"
        assert not endless.outcome.done()
        endless.cancel()
        with pytest.raises(UsageError, match="stopped"):
            endless.wait()


@pytest.mark.parametrize("lonely", [0, 1])
def test_a_job_that_must_be_alone_waits_and_is_waited_for(lonely: int) -> None:
    order: list[str] = []

    def work(name: str) -> Callable[[], Generator[int, None, str]]:
        def steps() -> Generator[int, None, str]:
            for step in range(5):
                order.append(name)
                yield step
            return name

        return steps

    with working() as worker:
        jobs = [Job(work(str(index)), keep_updates=False, alone=index == lonely) for index in range(2)]
        for job in jobs:
            worker.submit(job)
        assert [job.wait() for job in jobs] == ["0", "1"]
    assert order == ["0"] * 5 + ["1"] * 5


def test_a_job_that_is_cancelled_while_it_waits_ends_at_once() -> None:
    endless = Work(None)
    with working() as worker:
        first = Job(endless, keep_updates=False, alone=True)
        worker.submit(first)
        while not endless.done:
            time.sleep(0.001)
        second = Job(Work(1), keep_updates=False, alone=True)
        worker.submit(second)
        second.cancel()
        with pytest.raises(UsageError, match="stopped"):
            second.outcome.result(10)
        assert not first.outcome.done()


def test_the_worker_rests_while_nothing_comes_for_any_job() -> None:
    works = [Work(None), Work(None)]
    with working() as worker:
        jobs = [Job(work, keep_updates=False) for work in works]
        for job in jobs:
            worker.submit(job)
        time.sleep(0.3)
        rounds = works[1].done
        for job in jobs:
            job.cancel()
    assert 1 <= rounds < 1000  # unrested, some hundred thousand

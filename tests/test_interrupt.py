"""A call that nobody waits for any more ends in the middle of a long step, and the model goes on to serve others."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from lite import Model
from lite.backends.scripted import ScriptedSampler
from lite.budget import Budget
from lite.errors import Interrupted, UsageError
from lite.sampler import Event

PATIENCE = 60.0  # seconds, after which a step that should have been interrupted gives up


class Endless(ScriptedSampler):
    """A sampler whose steps are short but for one, which lasts until it is interrupted."""

    def __init__(self) -> None:
        super().__init__(lambda request: "It is 4.")
        self.short_steps = 0  # before it
        self.is_endless = True
        self.entered = threading.Event()
        self.stop: Callable[[], bool] = lambda: False

    def watch(self, stop: Callable[[], bool]) -> None:
        self.stop = stop

    def step(self, *, wait: bool) -> Sequence[Event]:
        self.entered.set()
        begun = time.monotonic()
        self.short_steps -= 1
        while self.is_endless and self.short_steps < 0:
            if self.stop():
                self.is_endless = False
                raise Interrupted
            assert time.monotonic() - begun < PATIENCE, "nobody has interrupted the step"
            time.sleep(0.001)
        return super().step(wait=wait)


@pytest.fixture
def endless() -> Endless:
    return Endless()


@pytest.fixture
def model(endless: Endless) -> Iterator[Model]:
    with Model(endless, name="endless", engine="scripted", format="none") as opened:
        yield opened


def test_closing_the_model_ends_a_long_step(model: Model, endless: Endless) -> None:
    job, _ = model._prepare(["2+2?"], "majority", {"samples": 2}, keep_updates=True)
    model._worker.submit(job)
    assert endless.entered.wait(PATIENCE)
    model.close()
    with pytest.raises(UsageError, match="closed"):
        job.wait()


def test_leaving_a_stream_ends_a_long_step(model: Model, endless: Endless) -> None:
    endless.short_steps = 1
    stream = model.stream("2+2?", "majority", samples=2)
    next(stream)
    stream.close()
    assert model.solve("2+2?", "majority", samples=2).value == "4"


def test_a_call_after_one_that_was_stopped_is_served(model: Model, endless: Endless) -> None:
    job, _ = model._prepare(["2+2?"], "majority", {"samples": 2}, keep_updates=False)
    model._worker.submit(job)
    assert endless.entered.wait(PATIENCE)
    job.cancel()
    with pytest.raises(UsageError, match="stopped"):
        job.wait()
    assert model.solve("2+2?", "majority", samples=2).value == "4"


def test_a_deadline_ends_a_long_step_with_what_there_is(model: Model, endless: Endless) -> None:
    result = model.solve("2+2?", "majority", samples=2, budget=Budget(seconds=0.05))
    assert [candidate.reason for candidate in result.candidates] == ["budget", "budget"]

"""How long a model takes for a step of N samples at once, and how many samples that makes worth drawing.

The figures are measured once for a model on this machine, and kept in the cache folder: `samples="auto"` decides by
them, so that with the same file the same question gets the same samples. Delete the file to have it measured again.
"""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from lite.params import Chat, SamplingParams
from lite.runner import run
from lite.sampler import Question, Sampler, Strategy

__all__ = ["Timings", "automatic", "load_timings", "measure", "save_timings", "smaller"]

_VERSION = 1
_SIZES = (1, 2, 4, 8, 16, 32)
_TOKENS = 12  # that each of them draws when it is measured
_LEAST = 4  # a vote of fewer says little
_FREE = 2.0  # the first round takes at most so many times as long as a lone sample
_PATIENCE = 8.0  # and all samples, were they drawn at once


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of one step, by the number of samples that it draws. Raises ValueError for what cannot be that."""

    seconds: Mapping[int, float]

    def __post_init__(self) -> None:
        if 1 not in self.seconds or not all(0 < value < float("inf") for value in self.seconds.values()):
            raise ValueError("timings must be above 0 and finite, the lone sample's among them")

    def of(self, size: int) -> float:
        """Seconds of a step of any number of samples, on the line between the numbers that were measured."""
        known = sorted(self.seconds)
        below = max((known_size for known_size in known if known_size <= size), default=known[0])
        above = min((known_size for known_size in known if known_size >= size), default=known[-1])
        share = (size - below) / (above - below) if above > below else 0.0
        return self.seconds[below] + share * (self.seconds[above] - self.seconds[below])

    @property
    def first(self) -> int:
        """The samples of the first round: as many as cost at most twice the time of one, and 4 at least."""
        return max(_LEAST, self._largest(_FREE))

    @property
    def most(self) -> int:
        """The samples at most: as many as cost at most 8 times the time of one, and one more round at least."""
        return max(2 * self.first, self._largest(_PATIENCE))

    def _largest(self, times: float) -> int:
        lone = self.seconds[1]
        return max(size for size, value in self.seconds.items() if size == 1 or value <= times * lone)


def automatic(strategy: Strategy, timings: Timings) -> Strategy:
    """The strategy with as many samples as its confidence asks for, where the local model draws several.

    What turns branches on their way, a thinking budget, stays outside: what is drawn again must be whole.
    """
    from lite.strategies.budget.rounds import Rounds
    from lite.strategies.parts import on_parts, with_samples
    from lite.strategies.stop.stop_temperature import StopTemperature
    from lite.strategies.stop.thinking_budget import ThinkingBudget

    def in_rounds(part: Strategy) -> Strategy:
        if isinstance(part, ThinkingBudget | StopTemperature):
            return replace(part, inner=in_rounds(part.inner))
        draws_one = with_samples(part, 1) in (part, with_samples(part, timings.first))
        return part if draws_one or isinstance(part, Rounds) else Rounds(inner=part, **sizes)

    sizes = {"first": timings.first, "most": timings.most}
    return on_parts(strategy, "local", in_rounds)


def measure(sampler: Sampler, *, clock: Callable[[], float] = time.perf_counter) -> Timings:
    """Time a few short steps of each size, after one that warms up. It takes about a hundred steps."""
    _seconds_per_step(sampler, 1, clock)
    return Timings({size: _seconds_per_step(sampler, size, clock) for size in _SIZES})


def smaller(one: Timings, other: Timings) -> Timings:
    """The shorter time of each size: what else the machine did has made the other one longer."""
    return Timings({size: min(seconds, other.seconds[size]) for size, seconds in one.seconds.items()})


def load_timings(path: Path) -> Timings | None:
    """None where there are none, or what is there cannot be read: they are measured again then."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        plain = json.loads(path.read_text("utf-8"))
        if plain["lite_timings"] == _VERSION:
            return Timings({int(size): float(value) for size, value in plain["seconds"].items()})
    return None


def save_timings(timings: Timings, path: Path) -> None:
    """Write them whole or not at all; a cache that cannot be written is done without."""
    plain = {"lite_timings": _VERSION, "seconds": {str(size): value for size, value in timings.seconds.items()}}
    beside = path.with_name(f".{path.name}.part")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(plain, indent=1) + "\n", "utf-8")
        beside.replace(path)


def _seconds_per_step(sampler: Sampler, size: int, clock: Callable[[], float]) -> float:
    from lite.strategies.select.majority import Majority

    strategy = Majority(samples=size, params=SamplingParams(max_tokens=_TOKENS))
    begun = clock()
    (answer,) = run(strategy, [Question(prompt=Chat.ask("How many are there?"))], {"local": sampler})
    steps = max(candidate.tokens for candidate in answer.candidates)
    return max(1e-9, (clock() - begun) / max(1, steps))

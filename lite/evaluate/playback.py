"""A Sampler that plays back what a log holds, so that any strategy can decide again, without the model.

The very strategy runs, so what it answers is what it would have answered live on the same samples: for choices among
whole samples and for rules that stop early alike. What the log does not hold is refused in one line.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lite.errors import BackendError, Unsupported
from lite.evaluate.log import LoggedBranch, Shelf
from lite.evaluate.shared import branch_key, stream_key
from lite.sampler import Ability, Chunk, Event, Finished, Reason, Request, Traits

__all__ = ["LogSampler"]


@dataclass(slots=True, eq=False)
class _Played:
    """A branch on its way."""

    request: Request
    branch: LoggedBranch
    position: int = 0  # tokens told
    is_scored: bool = False

    @property
    def length(self) -> int:
        return min(len(self.branch.drawn.ids), self.request.params.max_tokens)

    @property
    def reason(self) -> Reason | None:
        """How it ends; None where it was stopped before its end and the log knows no more of it."""
        branch, most = self.branch, self.request.params.max_tokens
        if branch.is_whole and len(branch.drawn.ids) <= most:
            return branch.reason
        return "length" if len(branch.drawn.ids) >= most else None

    def finish(self, reason: Reason, at: int | None = None) -> Finished:
        drawn = self.position if at is None else min(at, self.position)
        cost = replace(self.branch.cost, drawn_tokens=drawn, discarded_tokens=self.position - drawn)
        return Finished(self.request, reason, cost)


class LogSampler:
    """Implements `lite.sampler.Sampler` over the recorded branches of a question, by their keys.

    `chunk_size` tokens of each branch come in a step (None: all). With `ends_apart` no branch ends together with its
    tokens: the ends follow one a step, the shortest branch first. `name` stands in messages.
    """

    def __init__(
        self,
        branches: Shelf,
        *,
        can: Iterable[Ability],
        traits: Traits | None = None,
        chunk_size: int | None = None,
        ends_apart: bool = False,
        name: str = "the log",
    ) -> None:
        self._branches = branches
        self._can = frozenset(can)
        self._traits = traits or Traits()
        self._chunk_size = chunk_size
        self._ends_apart = ends_apart
        self._name = name
        self._keys: dict[Request, str] = {}
        self._live: dict[Request, _Played] = {}
        self._ended: list[Event] = []
        self._started: dict[Request, LoggedBranch] = {}

    @property
    def can(self) -> frozenset[Ability]:
        return self._can

    @property
    def traits(self) -> Traits:
        return self._traits

    def branch(self, request: Request) -> LoggedBranch | None:
        """What is played for a request."""
        return self._started.get(request)

    def start(self, requests: Sequence[Request]) -> None:
        """Raises Unsupported for a branch that the log does not hold."""
        played = [self._play(request) for request in requests]
        self._live |= {one.request: one for one in played}
        self._started |= {one.request: one.branch for one in played}

    def cancel(self, request: Request, at: int | None = None, reason: Reason = "cancelled") -> None:
        played = self._live.pop(request, None)
        if played is not None:
            self._ended.append(played.finish(reason, at))

    def step(self, *, wait: bool) -> Sequence[Event]:
        """Raises BackendError where every branch has come to the end of what was recorded, not to its own."""
        events, self._ended = self._ended, []
        for played in list(self._live.values()):
            events.extend(self._advance(played))
        if not events and self._ends_apart:
            events = self._next_end()
        if not events and self._live:
            played = next(iter(self._live.values()))
            raise BackendError(
                f"sample {played.request.sample} was stopped after {played.length} tokens when {self._name} was drawn,"
                " and this strategy needs more of it"
            )
        return events

    def close(self) -> None:
        self._live.clear()

    def _play(self, request: Request) -> _Played:
        parent = None if request.parent is None else self._keys[request.parent]
        branch = self._find(request, parent)
        if branch is None:
            raise Unsupported(f"{self._name} holds no {_described(request)}")
        if request.params.top_logprobs and branch.drawn.ids and not branch.drawn.top:
            raise Unsupported(f"{self._name} holds no likeliest tokens: draw it with --top-logprobs")
        self._keys[request] = branch.key
        return _Played(request, branch)

    def _find(self, request: Request, parent: str | None) -> LoggedBranch | None:
        """The very branch; where that was stopped early or is not there, one that differs in its longest length."""
        exact = self._branches.branch(branch_key(request, parent))
        if exact is not None and exact.is_whole:
            return exact
        other = self._branches.longest(stream_key(request, parent))
        if other is None or other is exact:
            return exact
        most, told = request.params.max_tokens, len(other.drawn.ids)
        is_enough = told >= most or other.reason in ("eos", "stop")
        return other if is_enough or (exact is None and other.reason != "length") else exact

    def _advance(self, played: _Played) -> list[Event]:
        events: list[Event] = []
        if not played.is_scored:
            played.is_scored = True
            if played.branch.scored is not None:
                events.append(_part(played.request, played.branch.scored, slice(None)))
        size = played.length if self._chunk_size is None else self._chunk_size
        end = min(played.position + size, played.length)
        if end > played.position:
            events.append(_part(played.request, played.branch.drawn, slice(played.position, end)))
            played.position = end
        if not self._ends_apart and played.position == played.length and played.reason is not None:
            del self._live[played.request]
            events.append(played.finish(played.reason))
        return events

    def _next_end(self) -> list[Event]:
        known = [(played, reason) for played in self._live.values() if (reason := played.reason)]
        if not known:
            return []
        played, reason = min(known, key=lambda pair: pair[0].length)
        del self._live[played.request]
        return [played.finish(reason)]


def _part(request: Request, chunk: Chunk, part: slice) -> Chunk:
    """Some of a chunk's tokens as another request's own."""
    most = request.params.top_logprobs
    return Chunk(
        request,
        chunk.start + (part.start or 0),
        chunk.ids[part],
        chunk.texts[part],
        chunk.logprobs[part],
        chunk.entropy[part],
        chunk.certainty[part],
        tuple(best[:most] for best in chunk.top[part]) if most else (),
    )


def _described(request: Request) -> str:
    """What a request asks for, in words."""
    params = request.params
    kind = (
        "greedy sample" if params.temperature == 0 else f"sample {request.sample} at temperature {params.temperature:g}"
    )
    extra = f" forked at token {request.at} and made to begin with {request.prefix!r}" if request.parent else ""
    if not request.parent and request.prefix:
        extra = f" made to begin with {request.prefix!r}"
    where = "" if request.sampler == "local" else f" of sampler {request.sampler!r}"
    return f"{kind}{extra}{where} of this prompt (seed {params.seed}, at most {params.max_tokens} tokens)"

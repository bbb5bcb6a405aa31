"""One flow at work: its branches, what it has been given, what it has spent. Knows no sampler and does no I/O."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from lite.budget import Budget
from lite.errors import LiteError, StrategyError
from lite.ledger import Ledger
from lite.record import Exchange
from lite.sampler import Answer, Cancel, Chunk, Command, Event, Finished, Flow, Reason, Request

__all__ = ["Branch", "Stop", "Task"]

MAX_FRUITLESS_ROUNDS = 1000  # far more than any strategy needs to notice that its budget is spent
OVERDRAW = 2  # times the token budget that may be drawn before branches are kept from running ahead: see Budget


@dataclass(frozen=True, slots=True)
class Stop:
    """A branch that the sampler has to stop, and what Sampler.cancel needs to know of it."""

    request: Request
    at: int | None
    reason: Reason


@dataclass(slots=True, eq=False)
class Branch:
    """A request's way through the runner."""

    request: Request
    waiting: deque[Chunk] = field(default_factory=deque)  # received, not yet given to the flow
    received: int = 0  # drawn tokens that have come from the sampler
    given: int = 0  # drawn tokens that the flow has seen
    limit: int | None = None  # the position of the flow's decision: Cancel.at
    cut: Reason | None = None  # why the flow gets no more of its tokens
    is_stopped: bool = False  # whether the sampler has been told to draw no more
    finished: Finished | None = None  # as the sampler told it

    @property
    def num_held(self) -> int:
        """Drawn tokens that wait; 0 once the branch is cut."""
        return 0 if self.cut else self.received - self.given

    @property
    def has_token(self) -> bool:
        """Whether a drawn token waits; a scored prefix alone is none."""
        return bool(self.waiting) and _end(self.waiting[-1]) > 0

    def account(self) -> Ledger:
        """The branch's cost, with tokens that the flow did not see, or decided against, moved to the discarded."""
        if self.finished is None:
            return Ledger()
        cost = self.finished.cost
        used = self.given if self.limit is None else min(self.given, self.limit)
        unused = max(0, min(self.received, cost.drawn_tokens) - used)
        return replace(cost, drawn_tokens=cost.drawn_tokens - unused, discarded_tokens=cost.discarded_tokens + unused)


class Task:
    """A flow between `begin` and its outcome: an Answer, or the LiteError that ended it.

    The runner hands over what samplers report (`receive`), lets the flow react (`pump`), and carries out `starts`
    and `stops`. Any other exception that the flow raises passes through `begin` and `pump`.
    """

    def __init__(
        self, index: int, flow: Flow, budget: Budget, clock: Callable[[], float], exchanges: list[Exchange] | None
    ) -> None:
        self.index = index
        self.starts: list[Request] = []  # asked for, not yet at a sampler
        self.stops: list[Stop] = []  # not yet told to a sampler
        self.live: dict[Request, Branch] = {}  # at a sampler, its Finished not yet come
        self.sent: list[Event] = []  # what the flow was given since the runner last looked
        self.outcome: Answer | LiteError | None = None
        self._flow = flow
        self._budget = budget
        self._clock = clock
        self._exchanges = exchanges
        self._began = clock()
        self._seconds = 0.0
        self._branches: dict[Request, Branch] = {}
        self._open: dict[Request, Branch] = {}  # their Finished not yet given to the flow, in order of issue
        self._given = 0
        self._drawn = 0
        self._money = 0.0
        self._expired = False
        self._fruitless_rounds = 0  # in a row

    def begin(self) -> None:
        """Let the flow ask for its first branches."""
        self._guarded(self._first)

    def started(self, request: Request) -> None:
        """A sampler has taken the branch on."""
        self.live[request] = self._branches[request]

    def receive(self, event: Event) -> None:
        """Take what a sampler reports of a live branch; the flow sees it at the next `pump`."""
        branch = self.live[event.request]
        if isinstance(event, Finished):
            branch.finished = event
            self._money += event.cost.money
            del self.live[event.request]
            return
        gained = max(0, _end(event) - branch.received)
        branch.received += gained
        self._drawn += gained
        if branch.cut is None and self.outcome is None:
            branch.waiting.extend(_tokens(event) if self._lockstep else (event,))

    def pump(self) -> None:
        """Give the flow what it may see, until it has to wait or has come to its outcome."""
        if self.outcome is None:
            self._guarded(self._pump)

    def fail(self, error: LiteError) -> None:
        """End the flow without an answer."""
        self._end(error)

    def lose(self, sampler: str, error: LiteError) -> None:
        """Nothing more will be heard of the branches at this sampler. An outcome that is there already stands."""
        for request in [request for request in self.live if request.sampler == sampler]:
            del self.live[request]
        if self.outcome is None:
            self.fail(error)

    @property
    def settled(self) -> bool:
        """Whether there is an outcome and no branch is left whose cost would be missing from it."""
        return self.outcome is not None and not self.live

    def settle(self) -> Answer | LiteError:
        """The outcome; an answer with what it cost."""
        assert self.outcome is not None
        if isinstance(self.outcome, LiteError):
            return self.outcome
        cost = sum((branch.account() for branch in self._branches.values()), Ledger())
        return replace(self.outcome, cost=replace(cost, seconds=self._seconds))

    def close(self) -> None:
        """End the flow, wherever it stands; idempotent."""
        self._flow.close()

    @property
    def _lockstep(self) -> bool:
        return self._budget.tokens is not None

    @property
    def _spent(self) -> bool:
        return self._expired or (self._budget.tokens is not None and self._given >= self._budget.tokens)

    @property
    def overdue(self) -> bool:
        """Whether its time or its money is spent."""
        limits = self._budget
        late = limits.seconds is not None and self._clock() - self._began >= limits.seconds
        return late or (limits.money is not None and self._money >= limits.money)

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except LiteError as error:
            self.fail(error)

    def _first(self) -> None:
        self._exchange(None)

    def _pump(self) -> None:
        self._expired = self._expired or self.overdue
        self._deliver()
        if self.outcome is None and self._expired:
            for branch in self._open.values():
                self._cut(branch, "budget")
            self._deliver()
        elif self.outcome is None and self._budget.tokens is not None:
            self._rein_in(self._budget.tokens)

    def _rein_in(self, tokens: int) -> None:
        """Stop the branches that have drawn all that they can still be given; the flow does not notice."""
        left = tokens - self._given
        share = left // len(self._open) if self._drawn >= OVERDRAW * tokens else left
        for branch in self.live.values():
            if branch.num_held > share and not branch.is_stopped:
                branch.is_stopped = True
                self.stops.append(Stop(branch.request, None, "budget"))

    def _deliver(self) -> None:
        while self.outcome is None:
            events = self._slice() if self._lockstep else self._arrived()
            if self._open and not events:
                return
            self._exchange(events)

    def _exchange(self, events: Sequence[Event] | None) -> None:
        """Send the flow these events and obey its commands; None is for its first call."""
        self.sent.extend(events or ())
        try:
            commands = tuple(next(self._flow) if events is None else self._flow.send(events))
        except StopIteration as stop:
            self._note(events or (), ())
            self._conclude(stop.value)
            return
        self._note(events or (), commands)
        self._obey(commands)
        self._check_round(events or (), commands)

    def _note(self, events: Sequence[Event], commands: Sequence[Command]) -> None:
        if self._exchanges is not None:
            self._exchanges.append(Exchange(tuple(events), tuple(commands)))

    def _obey(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if isinstance(command, Request):
                self._issue(command)
            elif isinstance(command, Cancel):
                self._cancel(command)
            else:
                raise StrategyError(f"a flow yields Request and Cancel, got {command!r}")

    def _check_round(self, events: Sequence[Event], commands: Sequence[Command]) -> None:
        """A flow may not wait for nothing, nor for ever command what brings it no token."""
        if not commands:
            if not self._open:
                raise StrategyError("the flow waits for events, but none of its branches is alive: it must answer")
            return
        asked = any(isinstance(c, Request) and self._branches[c].finished is None for c in commands)
        if asked or any(isinstance(event, Chunk) for event in events):
            self._fruitless_rounds = 0
            return
        self._fruitless_rounds += 1
        if self._fruitless_rounds > MAX_FRUITLESS_ROUNDS:
            raise StrategyError(f"the flow gained no token in {MAX_FRUITLESS_ROUNDS} rounds: it must answer now")

    def _issue(self, request: Request) -> None:
        self._check_new(request)
        branch = self._branches[request] = self._open[request] = Branch(request)
        if self._spent:
            branch.finished = Finished(request, "budget", Ledger())
        else:
            self.starts.append(request)

    def _check_new(self, request: Request) -> None:
        if request in self._branches:
            raise StrategyError("a Request is one branch: to draw another, make another Request")
        if request.parent is None:
            if request.at != 0:
                raise StrategyError(f"at={request.at} without a parent: only a fork goes on from drawn tokens")
            return
        parent = self._branches.get(request.parent)
        if parent is None:
            raise StrategyError("a fork's parent must be a branch that the same flow asked for before")
        if not 0 <= request.at <= parent.given:
            raise StrategyError(f"a fork at {request.at} of a parent of whom {parent.given} tokens were seen")
        if request.sampler != parent.request.sampler:
            raise StrategyError(f"a fork to sampler {request.sampler!r}; its parent is at {parent.request.sampler!r}")
        if request.prompt != parent.request.prompt:
            raise StrategyError("a fork repeats its parent's prompt; new text goes into its prefix")

    def _cancel(self, command: Cancel) -> None:
        branch = self._branches.get(command.request)
        if branch is None:
            raise StrategyError("a flow may cancel only branches that it asked for")
        if command.at is not None:
            if not 0 <= command.at <= branch.given:
                raise StrategyError(f"a cancel at {command.at} of a branch of which {branch.given} tokens were seen")
            branch.limit = command.at if branch.limit is None else min(branch.limit, command.at)
        if command.request in self._open:
            self._cut(branch, "cancelled", command.at)

    def _cut(self, branch: Branch, reason: Reason, at: int | None = None) -> None:
        """Give the flow none of the branch's further tokens; its Finished tells `reason`, whatever else ended it."""
        if branch.cut is not None:
            return
        branch.waiting.clear()
        if branch.finished is None or branch.finished.reason != "budget":
            branch.cut = reason
        if branch.finished is None and not branch.is_stopped:
            branch.is_stopped = True
            self.stops.append(Stop(branch.request, branch.given if at is None else at, reason))

    def _arrived(self) -> list[Event]:
        """All that has come, by branch in order of issue, then by position."""
        events: list[Event] = []
        for branch in list(self._open.values()):
            while branch.waiting:
                events.append(self._give(branch))
            if branch.finished is not None:
                events.append(self._finish(branch, branch.finished))
        return events

    def _slice(self) -> list[Event]:
        """For each open branch its next token or its end, once known of all; what exceeds the budget is cut."""
        events: list[Event] = []
        while self._open and not events and all(b.has_token or b.finished for b in self._open.values()):
            for branch in list(self._open.values()):
                events.extend(self._next(branch))
        return events

    def _next(self, branch: Branch) -> Iterator[Event]:
        if branch.has_token and self._given >= (self._budget.tokens or 0):
            self._cut(branch, "budget")
            return
        while branch.waiting:
            event = self._give(branch)
            yield event
            if event.start >= 0:
                return
        if branch.finished is not None:
            yield self._finish(branch, branch.finished)

    def _give(self, branch: Branch) -> Chunk:
        chunk = branch.waiting.popleft()
        gained = max(0, _end(chunk) - branch.given)
        branch.given += gained
        self._given += gained
        return chunk

    def _finish(self, branch: Branch, finished: Finished) -> Finished:
        del self._open[branch.request]
        return replace(finished, reason=branch.cut or finished.reason, cost=branch.account())

    def _conclude(self, answer: object) -> None:
        if not isinstance(answer, Answer):
            raise StrategyError(f"a flow returns an Answer, got {answer!r}")
        self._seconds = self._clock() - self._began
        self._end(answer)

    def _end(self, outcome: Answer | LiteError) -> None:
        self.outcome = outcome
        self.starts.clear()
        self._open.clear()
        running = [branch for branch in self.live.values() if not branch.is_stopped]
        self.stops.extend(Stop(branch.request, branch.given, "cancelled") for branch in running)
        self._flow.close()


def _end(chunk: Chunk) -> int:
    """The position after the chunk's last token."""
    return chunk.start + len(chunk.ids)


def _tokens(chunk: Chunk) -> Iterator[Chunk]:
    """The chunk's tokens, each in a chunk of its own."""
    for i in range(len(chunk.ids)):
        one = slice(i, i + 1)
        yield Chunk(
            chunk.request,
            chunk.start + i,
            chunk.ids[one],
            chunk.texts[one],
            chunk.logprobs[one],
            chunk.entropy[one],
            chunk.certainty[one],
            chunk.top[one],
        )

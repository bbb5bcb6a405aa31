"""What a strategy costs by itself, told from its flow alone.

Strategies share samples, batches and cached prompts, so what a sampler reports of a branch depends on who else was
there. This account does not: each distinct prompt is computed once and shared by the strategy's own branches, a fork
shares all that its parent had, and drawn tokens are those that the flow was given, one token of each branch at a time.
A replay of the same samples therefore comes to the same account, and so does a run that was interrupted and went on.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field

from lite.budget import Budget
from lite.ledger import Ledger
from lite.sampler import Ability, Answer, Cancel, Chunk, Command, Event, Flow, Question, Request, Strategy

__all__ = ["LOCKSTEP", "Followed", "Taken", "Watched", "account"]

LOCKSTEP = Budget(tokens=2**62)
"""A budget that nobody reaches. With one, the runner gives a flow its tokens one of each branch at a time."""


@dataclass(slots=True)
class Taken:
    """What a flow took of one branch."""

    given: int = 0  # drawn tokens that it saw
    limit: int | None = None  # where it decided to stop the branch
    has_ended: bool = False  # the flow was told of the branch's end

    @property
    def used(self) -> int:
        return self.given if self.limit is None else min(self.given, self.limit)


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """A strategy that takes note of what its flow asks for and is given; for one question."""

    strategy: Strategy
    taken: dict[Request, Taken] = field(default_factory=dict)
    _waited: list[bool] = field(default_factory=list)  # of each round: whether the flow asked for nothing

    @property
    def took_all(self) -> bool:
        """Whether the flow only ever waited after its first commands, and until the last of its branches had ended."""
        return all(self._waited[1:]) and all(taken.has_ended for taken in self.taken.values())

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return self.strategy.needs

    def __call__(self, question: Question) -> Flow:
        self.taken.clear()
        self._waited.clear()
        return self._watch(self.strategy(question))

    def _watch(self, flow: Flow) -> Generator[Sequence[Command], Sequence[Event], Answer]:
        try:
            commands = next(flow)
            while True:
                self._note(commands)
                events = yield commands
                for event in events:
                    self._count(event)
                commands = flow.send(events)
        except StopIteration as stop:
            answer: Answer = stop.value
            return answer
        finally:
            flow.close()

    def _count(self, event: Event) -> None:
        taken = self.taken[event.request]
        if isinstance(event, Chunk):
            taken.given = max(taken.given, event.start + len(event.ids))
        else:
            taken.has_ended = True

    def _note(self, commands: Sequence[Command]) -> None:
        self._waited.append(not commands)
        for command in commands:
            if isinstance(command, Cancel):
                self._limit(self.taken.get(command.request), command.at)
            elif isinstance(command, Request):
                self.taken.setdefault(command, Taken())

    def _limit(self, taken: Taken | None, at: int | None) -> None:
        if taken is not None and at is not None:
            taken.limit = at if taken.limit is None else min(taken.limit, at)


@dataclass(frozen=True, slots=True)
class Followed:
    """What is known of the branch behind a request."""

    key: str  # its name in the log
    context: int  # tokens before the first drawn one; 0 if it never began
    cost: Ledger  # as the sampler told it


def account(taken: Mapping[Request, Taken], followed: Callable[[Request], Followed | None]) -> Ledger:
    """The whole cost of one answer, but for seconds and joules. A prompt's forced prefix counts as prompt tokens."""
    seen: set[tuple[object, ...]] = set()
    total = Ledger()
    for request, amount in taken.items():
        branch = followed(request) or Followed("", 0, Ledger())
        place = _place(request)
        prompt, cached, forced = _context(request, branch.context, place in seen, followed)
        if branch.context:
            seen.add(place)
        drawn, discarded = amount.used, amount.given - amount.used
        if branch.cost.remote_calls:  # what came may be one text; how many tokens that is, the server has told
            drawn, discarded = branch.cost.drawn_tokens, branch.cost.discarded_tokens
        total += Ledger(
            prompt_tokens=prompt,
            cached_tokens=cached,
            forced_tokens=forced,
            drawn_tokens=drawn,
            discarded_tokens=discarded,
            branches=1,
            remote_calls=branch.cost.remote_calls,
            money=branch.cost.money,
        )
    return total


def _place(request: Request) -> tuple[object, ...]:
    """What its context is made of."""
    return (request.sampler, request.prompt, request.prefix, request.parent, request.at)


def _context(
    request: Request,
    context: int,
    known: bool,
    followed: Callable[[Request], Followed | None],
) -> tuple[int, int, int]:
    """Its context as computed, shared and forced tokens."""
    if known:
        return 0, context, 0
    if request.parent is None:
        return context, 0, 0
    parent = followed(request.parent)
    shared = min(context, (parent.context if parent else 0) + request.at)
    return 0, shared, context - shared

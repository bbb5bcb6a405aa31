"""The interface. A strategy is a generator: it yields commands, is sent events, and returns its answer.

No I/O, no clock and no thread inside a strategy. It decides at a token position, never at a chunk's border nor by
order of arrival; "first" means fewest tokens, then lowest branch number.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from lite.ledger import Ledger
from lite.params import Prompt, SamplingParams

Ability: TypeAlias = Literal["logprobs", "certainty", "entropy", "top", "prefix", "fork", "score"]
Reason: TypeAlias = Literal["eos", "stop", "length", "cancelled", "budget", "failed", "withheld"]
"""How a branch ended. "failed": its server did, and the others go on. "withheld": by a rule of the user's (privacy,
offline) it was never sent."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Request:
    """One branch to draw. The object is the branch's identity: events carry it, a fork names it as its parent.

    A fork continues its parent's prompt, prefix and first `at` drawn tokens; its own tokens count from 0 again.
    Random stream: derived from (params.seed, sample), or for a fork from (parent's stream, at, sample).
    """

    prompt: Prompt  # a fork repeats its parent's
    params: SamplingParams = field(default_factory=SamplingParams)
    sample: int = 0  # which of the N samples of this prompt
    prefix: str = ""  # what the model is made to have said already: NoThinking, budget forcing, an answer probe
    parent: "Request | None" = None  # go on from its first `at` drawn tokens, sharing its KV
    at: int = 0
    sampler: str = "local"  # a name of run(samplers=...): this is what routing is
    score: bool = False  # report the prefix's own log-probabilities too (teacher forcing)


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop a branch; its Finished follows. Tokens from position `at` on were drawn past the decision: discarded."""

    request: Request
    at: int | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens that a branch has gained: one (a CPU step) or several (a jitted loop, a network delta).

    One value a token in every non-empty field; an empty one means that the sampler cannot tell. The end-of-turn
    token is among them, with an empty text. A scored prefix of m tokens arrives as positions -m .. -1.
    """

    request: Request
    start: int  # position of the first of them in the branch's completion
    ids: tuple[int, ...]
    texts: tuple[str, ...]  # "" while a character is incomplete, and from a stop string on
    logprobs: tuple[float, ...] = ()  # nats, of these tokens, under the raw model
    entropy: tuple[float, ...] = ()  # nats
    certainty: tuple[float, ...] = ()  # nats, KL(uniform || p): arXiv:2502.18581, eq. 9
    top: tuple[tuple[tuple[int, float], ...], ...] = ()  # per token: the likeliest (id, log-probability), best first


@dataclass(frozen=True, slots=True)
class Finished:
    """A branch has ended. `cost` counts its tokens; what forks shared is in `cached_tokens`."""

    request: Request
    reason: Reason
    cost: Ledger


@dataclass(frozen=True, slots=True)
class Traits:
    """What depends on the model, told to strategies: they hold no think tag in their source."""

    think_open: str = ""  # "" where the model has no thinking mode
    think_close: str = ""
    think_opened: bool | None = None  # whether a Chat that may think begins in a thought, opened by the prompt; None:
    # not known, and then it is taken to


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be answered. `models` holds each sampler's traits; `run` fills it in."""

    prompt: Prompt
    choices: tuple[str, ...] = ()
    extract: Callable[[str], str | None] | None = None  # text -> value; None: lite.answers.extract
    equivalent: Callable[[str, str], bool] | None = None  # None: lite.answers.equivalent
    models: Mapping[str, Traits] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One branch as the strategy judged it."""

    request: Request
    text: str
    value: str | None  # the extracted answer; None casts no vote
    score: float | None  # the strategy's own: mean certainty, mean log-probability, ...
    votes: float  # what its value gained from this candidate
    tokens: int
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a strategy returns; `run` adds the cost."""

    text: str
    value: str | None
    confidence: float | None  # in [0, 1]: the winner's share of the votes, where there is a vote
    candidates: tuple[Candidate, ...]
    cost: Ledger = field(default_factory=Ledger)


Command: TypeAlias = Request | Cancel
Event: TypeAlias = Chunk | Finished
Flow: TypeAlias = Generator[Sequence[Command], Sequence[Event], Answer]


class Sampler(Protocol):
    """Advances many branches together. Not thread-safe."""

    @property
    def can(self) -> frozenset[Ability]: ...
    @property
    def traits(self) -> Traits: ...
    def start(self, requests: Sequence[Request]) -> None: ...  # raises PromptTooLong, InvalidRequest; all or none start
    def cancel(self, request: Request, at: int | None = None, reason: Reason = "cancelled") -> None: ...  # idempotent
    def step(self, *, wait: bool) -> Sequence[Event]: ...  # raises BackendError; wait=False must not block on a network
    def close(self) -> None: ...  # idempotent


@runtime_checkable
class Interruptible(Protocol):
    """A sampler, or what it steps, that can be stopped in the middle of a long call."""

    def watch(self, stop: Callable[[], bool]) -> None:
        """Ask `stop` now and then while something takes long, from any thread; True makes it raise Interrupted."""
        ...


class Strategy(Protocol):
    """A frozen dataclass of settings; calling it gives a fresh flow. `yield from` composes."""

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]: ...  # by sampler name
    def __call__(self, question: Question) -> Flow: ...

"""A sampler without a model: it recites a script. Strategies are tested with it, ours and yours.

    sampler = ScriptedSampler(lambda request: f"I think the answer is {request.sample % 3}.")
    answer, = run(MyStrategy(), [Question(prompt="How many?")], {"local": sampler})

What a branch says depends on its lineage alone (prompt, prefix, seed, sample, and the parent's lineage for a fork),
never on chunk sizes, slots or arrival, all of which can be made as unpleasant as they are with a real sampler.
"""

import itertools
import random
import re
import struct
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TypeAlias, get_args
from weakref import WeakKeyDictionary

from lite.errors import BackendError, InvalidRequest, PromptTooLong
from lite.ledger import Ledger
from lite.params import Chat, Prompt
from lite.sampler import Ability, Chunk, Event, Finished, Reason, Request, Traits

__all__ = ["Script", "ScriptedSampler", "ScriptedToken", "by_prompt", "lineage", "prompt_text", "words"]

ALL_ABILITIES: frozenset[Ability] = frozenset(get_args(Ability))
END_ID = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedToken:
    """One token of a script; a statistic that is None is made up from the branch's lineage. All in nats."""

    text: str
    id: int | None = None  # None: from the text
    logprob: float | None = None
    entropy: float | None = None
    certainty: float | None = None
    top: tuple[tuple[int, float], ...] | None = None


Script: TypeAlias = Callable[[Request], str | Sequence[ScriptedToken]]
"""What a branch says, without the end-of-turn token, which is added: a text (a token each word), or the tokens."""


def by_prompt(completions: Mapping[str, Sequence[str]]) -> Script:
    """A script from a table: prompt text to its samples' completions, used in turn. Raises KeyError for no entry."""

    def script(request: Request) -> str:
        samples = completions[prompt_text(request.prompt)]
        return samples[request.sample % len(samples)]

    return script


def prompt_text(prompt: Prompt) -> str:
    """The contents of a chat's messages, one a line; a text as it stands; token ids as words."""
    if isinstance(prompt, Chat):
        return "\n".join(message.content for message in prompt.messages)
    return prompt if isinstance(prompt, str) else " ".join(map(str, prompt))


def words(text: str) -> list[str]:
    """The text in pieces that join to it again: each word with the white space before it."""
    return re.findall(r"\s*\S+|\s+$", text)


def lineage(request: Request) -> bytes:
    """16 bytes that stand for all that decides what a branch says. Greedy branches differ by no seed or sample."""
    greedy = request.params.temperature == 0
    stream = (0, 0) if greedy else (request.params.seed, request.sample)
    parent = lineage(request.parent) if request.parent is not None else b""
    facts = (request.sampler, request.prompt, request.prefix, stream, parent, request.at)
    return _hash(repr(facts).encode())


def made_up(request: Request) -> str:
    """The default script: up to 24 words of musing, then "The answer is N." with N below 4."""
    dice = random.Random(lineage(request))
    musing = dice.choices(("so", "then", "wait,", "it", "was", "two", "more", "than", "half,"), k=dice.randrange(25))
    return " ".join((*musing, f"The answer is {dice.choice((0, 1, 1, 2, 2, 2, 3))}."))


class ScriptedSampler:
    """Implements `lite.sampler.Sampler`.

    `chunk_size` tokens of each live branch come in a step; with `ragged` any number from 1 to that, and now and then
    a Finished that comes later than the last token. At most `num_slots` branches are live, the others wait, first
    in, first out. A branch says nothing in a step with probability `silence`. `shuffle` mixes the branches' events
    within a step. `arrival_seed` seeds all three. `fail_at_step` is the step, from 1, that raises BackendError.

    Prompts, prefixes and completions are counted in words; `context_length` limits their sum, with one new token.
    """

    def __init__(
        self,
        script: Script = made_up,
        *,
        chunk_size: int = 1,
        ragged: bool = False,
        num_slots: int | None = None,
        silence: float = 0.0,
        shuffle: bool = False,
        arrival_seed: int = 0,
        can: frozenset[Ability] = ALL_ABILITIES,
        traits: Traits | None = None,
        context_length: int | None = None,
        fail_at_step: int | None = None,
    ) -> None:
        if chunk_size < 1:
            raise ValueError(f"chunk_size must be at least 1, got {chunk_size!r}")
        if num_slots is not None and num_slots < 1:
            raise ValueError(f"num_slots must be at least 1 or None, got {num_slots!r}")
        if not 0 <= silence < 1:
            raise ValueError(f"silence must be in [0, 1), got {silence!r}")
        self.started: list[tuple[Request, ...]] = []  # the lists that `start` was given
        self.cancelled: list[tuple[Request, int | None, Reason]] = []  # the live branches that were cancelled
        self.num_steps = 0
        self._script = script
        self._chunk_size = chunk_size
        self._ragged = ragged
        self._num_slots = num_slots
        self._silence = silence
        self._shuffle = shuffle
        self._dice = random.Random(arrival_seed)
        self._can = can
        self._traits = traits or Traits()
        self._context_length = context_length
        self._fail_at_step = fail_at_step
        self._closed = False
        self._told: WeakKeyDictionary[Request, int] = WeakKeyDictionary()  # tokens of each branch so far, ended or not
        self._queue: deque[_Recital] = deque()
        self._live: dict[Request, _Recital] = {}
        self._ended: list[Event] = []  # of cancelled branches, told in the next step

    @property
    def can(self) -> frozenset[Ability]:
        return self._can

    @property
    def traits(self) -> Traits:
        return self._traits

    @property
    def num_live(self) -> int:
        """Branches that hold a slot."""
        return len(self._live)

    @property
    def num_waiting(self) -> int:
        """Branches that wait for a slot."""
        return len(self._queue)

    def start(self, requests: Sequence[Request]) -> None:
        """Raises InvalidRequest, PromptTooLong, or BackendError once closed; then none has started."""
        if self._closed:
            raise BackendError("the scripted sampler is closed: make another")
        recitals: dict[Request, _Recital] = {}
        told = dict(self._told)
        prompts: set[Prompt] = set()
        for request in requests:
            self._check(request, told)
            told[request] = 0
            shared = request.parent is not None or request.prompt in prompts
            prompts.add(request.prompt)
            recitals[request] = self._recital(request, shared)
        self.started.append(tuple(requests))
        self._told.update(dict.fromkeys(requests, 0))
        self._queue.extend(recitals.values())

    def cancel(self, request: Request, at: int | None = None, reason: Reason = "cancelled") -> None:
        """Its slot is free at once; its Finished comes with the next step. No effect on a branch that has ended."""
        recital = self._live.pop(request, None)
        if recital is None:
            recital = next((waiting for waiting in self._queue if waiting.request is request), None)
            if recital is None:
                return
            self._queue.remove(recital)
        self.cancelled.append((request, at, reason))
        self._ended.append(recital.finish(reason, at))

    def step(self, *, wait: bool) -> Sequence[Event]:
        """Raises BackendError at the step that was chosen for it, and after `close`."""
        self.num_steps += 1
        if self._closed or self.num_steps == self._fail_at_step:
            raise BackendError(f"the scripted sampler fails at step {self.num_steps}, as it was told to")
        while self._queue and (self._num_slots is None or len(self._live) < self._num_slots):
            recital = self._queue.popleft()
            recital.has_begun = True
            self._live[recital.request] = recital
        ended, self._ended = self._ended, []
        by_branch: list[list[Event]] = [[event] for event in ended]
        by_branch += [self._advance(recital) for recital in list(self._live.values())]
        return self._arrange(by_branch)

    def close(self) -> None:
        self._closed = True
        self._queue.clear()
        self._live.clear()
        self._ended.clear()

    def _check(self, request: Request, told: Mapping[Request, int]) -> None:
        if request in told:
            raise InvalidRequest("a Request is one branch: to draw another, make another Request")
        used: dict[Ability, bool] = {
            "prefix": bool(request.prefix),
            "fork": request.parent is not None,
            "score": request.score,
            "top": request.params.top_logprobs > 0,
        }
        missing = [ability for ability, is_used in used.items() if is_used and ability not in self._can]
        if missing:
            raise InvalidRequest(f"the scripted sampler was made without {', '.join(missing)}")
        if request.parent is not None:
            drawn = told.get(request.parent)
            if drawn is None:
                raise InvalidRequest("a fork of a branch that was never started here")
            if not 0 <= request.at <= drawn:
                raise InvalidRequest(f"a fork at {request.at} of a branch that has {drawn} tokens")
        needed = _num_context_words(request) + len(words(request.prefix)) + 1
        if self._context_length is not None and needed > self._context_length:
            raise PromptTooLong(f"{needed} words with one new token, the context holds {self._context_length}")

    def _recital(self, request: Request, shared: bool) -> "_Recital":
        spoken = self._script(request)
        tokens = [ScriptedToken(text=word) for word in words(spoken)] if isinstance(spoken, str) else spoken
        return _Recital(request, *_ended(tokens, request), self._can, shared)

    def _advance(self, recital: "_Recital") -> list[Event]:
        if self._dice.random() < self._silence:
            return []
        size = self._dice.randint(1, self._chunk_size) if self._ragged else self._chunk_size
        events = recital.recite(size)
        self._told[recital.request] = recital.emitted
        late = bool(events) and self._ragged and self._dice.random() < 0.5
        if recital.is_over and not late:
            del self._live[recital.request]
            events.append(recital.finish(recital.reason))
        return events

    def _arrange(self, by_branch: list[list[Event]]) -> list[Event]:
        """One list; with `shuffle` the branches are mixed, each one's events staying in their order."""
        if not self._shuffle:
            return list(itertools.chain.from_iterable(by_branch))
        turns = [branch for branch, events in enumerate(by_branch) for _ in events]
        self._dice.shuffle(turns)
        queues = [deque(events) for events in by_branch]
        return [queues[branch].popleft() for branch in turns]


class _Recital:
    """A branch as it is told: all its tokens are known from the start."""

    def __init__(
        self,
        request: Request,
        tokens: Sequence[ScriptedToken],
        reason: Reason,
        can: frozenset[Ability],
        shared: bool,
    ) -> None:
        self.request = request
        self.reason = reason
        self.emitted = 0
        self.has_begun = False
        self._tokens = tokens
        self._can = can
        self._shared = shared  # whether its prompt is already computed for another branch
        self._prefix = tuple(ScriptedToken(text=word) for word in words(request.prefix))
        self._is_scored = not (request.score and self._prefix)
        self._lineage = lineage(request)

    @property
    def is_over(self) -> bool:
        """Whether every token has been told."""
        return self.emitted == len(self._tokens)

    def recite(self, size: int) -> list[Event]:
        """The next `size` tokens or what is left, after the scored prefix if that is due."""
        events: list[Event] = []
        if not self._is_scored:
            self._is_scored = True
            events.append(self._chunk(-len(self._prefix), self._prefix))
        tokens = self._tokens[self.emitted : self.emitted + size]
        if tokens:
            events.append(self._chunk(self.emitted, tokens))
            self.emitted += len(tokens)
        return events

    def finish(self, reason: Reason, at: int | None = None) -> Finished:
        """The branch's end; what was told from position `at` on is discarded."""
        if not self.has_begun:
            return Finished(self.request, reason, Ledger(branches=1))
        context = _num_context_words(self.request)
        drawn = self.emitted if at is None else min(at, self.emitted)
        cost = Ledger(
            prompt_tokens=0 if self._shared else context,
            cached_tokens=context if self._shared else 0,
            forced_tokens=len(self._prefix),
            drawn_tokens=drawn,
            discarded_tokens=self.emitted - drawn,
            branches=1,
        )
        return Finished(self.request, reason, cost)

    def _chunk(self, start: int, tokens: Sequence[ScriptedToken]) -> Chunk:
        told = [self._with_statistics(start + i, token) for i, token in enumerate(tokens)]
        return Chunk(
            self.request,
            start,
            tuple(_token_id(token) for token in told),
            tuple(token.text for token in told),
            tuple(token.logprob or 0.0 for token in told) if "logprobs" in self._can else (),
            tuple(token.entropy or 0.0 for token in told) if "entropy" in self._can else (),
            tuple(token.certainty or 0.0 for token in told) if "certainty" in self._can else (),
            tuple(token.top or () for token in told) if self.request.params.top_logprobs else (),
        )

    def _with_statistics(self, position: int, token: ScriptedToken) -> ScriptedToken:
        """The token with nothing left to be made up."""
        first, second, third, _ = struct.unpack("<4I", _hash(self._lineage + repr(position).encode()))
        logprob = -3 * first / 2**32 if token.logprob is None else token.logprob
        entropy = 4 * second / 2**32 if token.entropy is None else token.entropy
        certainty = 20 * third / 2**32 if token.certainty is None else token.certainty
        most = self.request.params.top_logprobs
        invented = ((_token_id(token), logprob), *((60_000 + i, logprob - i) for i in range(1, most)))
        top = (invented if token.top is None else token.top)[:most]
        return replace(token, logprob=logprob, entropy=entropy, certainty=certainty, top=top)


def _ended(tokens: Sequence[ScriptedToken], request: Request) -> tuple[tuple[ScriptedToken, ...], Reason]:
    """The script up to where it stops: at a stop string, at max_tokens, or with the end-of-turn token."""
    most = request.params.max_tokens
    tokens = [replace(token, id=_token_id(token)) for token in tokens]  # before a stop string takes their text
    text = "".join(token.text for token in tokens)
    begin, end = min(
        ((found, found + len(stop)) for stop in request.params.stop if (found := text.find(stop)) >= 0),
        key=lambda span: (span[1], span[0]),
        default=(len(text), len(text) + 1),
    )
    ends = list(itertools.accumulate(len(token.text) for token in tokens))
    last = next((i for i, reached in enumerate(ends) if reached >= end), None)
    if last is not None and last < most:
        starts = [0, *ends]
        kept = (replace(token, text=token.text[: max(0, begin - starts[i])]) for i, token in enumerate(tokens))
        return tuple(itertools.islice(kept, last + 1)), "stop"
    whole = (*tokens, ScriptedToken(text="", id=END_ID))
    return whole[:most], "eos" if len(whole) <= most else "length"


def _num_context_words(request: Request) -> int:
    """Words before the request's own prefix."""
    if request.parent is None:
        return len(words(prompt_text(request.prompt)))
    return _num_context_words(request.parent) + len(words(request.parent.prefix)) + request.at


def _token_id(token: ScriptedToken) -> int:
    """Its own, or one that is the same for the same text and not END_ID."""
    return 1 + int.from_bytes(_hash(token.text.encode())[:4], "big") % 50_000 if token.id is None else token.id


def _hash(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()

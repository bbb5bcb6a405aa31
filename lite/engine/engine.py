"""A local Sampler over any Backend: continuous batching over slots, with every shared prefix computed once."""

from collections import deque
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

from lite.backends.base import Backend, Drawn, Row
from lite.codec import Codec
from lite.engine.branches import Branch, Trail, chunk_of, records, score_records
from lite.engine.intake import Intake
from lite.engine.prompts import SavedPrompts
from lite.engine.slots import Slots
from lite.engine.text import TokenTexts
from lite.errors import BackendError, Interrupted
from lite.sampler import Ability, Chunk, Event, Finished, Interruptible, Reason, Request, Traits

__all__ = ["Engine"]

_ABILITIES: frozenset[Ability] = frozenset(("logprobs", "certainty", "entropy", "top", "prefix", "fork", "score"))


class Engine:
    """Draws branches from one model. It takes ownership of the backend; not thread-safe.

    Branches beyond the backend's slots wait, first in, first out, and each `step` first fills the free slots. A
    branch's tokens depend on its request alone (as far as the backend's arithmetic does, see
    `BackendSpec.batch_invariant`), never on its slot, its companions, or how many tokens a step draws.

    A branch ends with "eos" (the end token is its last, with an empty text), "stop" (the tokens up to the one that
    completed a stop string are its own, the texts end before the string) or "length" (max_tokens, or the model's
    context is full). A token is held back while its text is not decided, so what is given is final.

    The account (`Finished.cost`): prompt, cached and forced tokens add up to the context that the branch started
    from; a token counts as cached if its KV was shared, the prefix's too, else as forced if it is of the prefix and
    as prompt if not. What was read from a file counts as cached too. Drawn and discarded tokens add up to what was
    sampled for the branch.
    """

    def __init__(self, backend: Backend, codec: Codec, prompts: SavedPrompts | None = None) -> None:
        """`prompts` keeps those of this backend beyond the process."""
        self._backend = backend
        self._prompts = prompts
        self._codec = codec
        self._intake = Intake(codec, backend.spec)
        self._slots = Slots(backend)
        self._end_ids = codec.end_ids
        self._trails: WeakKeyDictionary[Request, Trail] = WeakKeyDictionary()
        self._branches: dict[Request, Branch] = {}  # waiting and live
        self._waiting: deque[Branch] = deque()
        self._live: list[Branch] = []
        self._events: list[Event] = []  # not handed out yet
        self._closed = False

    @property
    def can(self) -> frozenset[Ability]:
        return _ABILITIES

    @property
    def traits(self) -> Traits:
        return self._codec.traits

    @property
    def backend(self) -> Backend:
        """What it steps; not to be stepped by others while branches are live."""
        return self._backend

    @property
    def codec(self) -> Codec:
        return self._codec

    def start(self, requests: Sequence[Request]) -> None:
        """Queue the requests, all or none; nothing is computed before the next `step`.

        A fork's parent may wait, be live, finished or cancelled, or stand earlier in `requests`; `at` may be any
        number of the tokens that its chunks have given so far. Raises InvalidRequest, PromptTooLong, BackendError
        after `close`.
        """
        self._check_open()
        branches = self._intake.branches(requests, self._trails)
        for branch in branches:
            self._trails[branch.request] = branch.trail
            self._branches[branch.request] = branch
        self._waiting.extend(branches)

    def cancel(self, request: Request, at: int | None = None, reason: Reason = "cancelled") -> None:
        """Stop a branch and free its slot at once; its Finished follows with the next step.

        Tokens from position `at` on, given or not, count as discarded, and can be forked no more. A no-op for a
        branch that has ended or was never started here.
        """
        branch = self._branches.get(request)
        if branch is None:
            return
        (self._waiting if branch.slot is None else self._live).remove(branch)
        if at is not None:
            branch.trail.given = max(0, min(branch.trail.given, at))
        self._finish(branch, reason)

    def step(self, *, wait: bool) -> Sequence[Event]:
        """Fill the free slots, feed every live branch its last token, and draw; nothing to do gives no events.

        `wait` changes nothing: a local model never waits for others. On an error of the backend, which is raised,
        the branches go back to the head of the queue, and a later step computes their KV anew (and counts it again).
        """
        self._check_open()
        while self._waiting and self._slots.any_free:
            try:
                self._admit(self._waiting[0])
            except Interrupted:
                raise
            except BaseException:  # a backend that failed may have lost every slot
                self._requeue()
                raise
        if self._live:
            self._draw()
        events, self._events = self._events, []
        return events

    def watch(self, stop: Callable[[], bool]) -> None:
        """As `Interruptible.watch`, as far as the backend can; an interrupted `step` is one that failed."""
        if isinstance(self._backend, Interruptible):
            self._backend.watch(stop)

    def close(self) -> None:
        """Free the backend; idempotent. Branches that have not ended never will."""
        if not self._closed:
            self._closed = True
            self._backend.close()

    def _check_open(self) -> None:
        if self._closed:
            raise BackendError("the engine was closed: load the model again")

    def _admit(self, branch: Branch) -> None:
        """Bring the first waiting branch's KV into a slot, all but its last token's."""
        context = branch.trail.context
        last = len(context) - 1
        bare = branch.prefix_start - 1 if branch.needs_score else last  # to score is to compute, even what is cached
        slot, shared = self._slots.prepare(context, bare)
        if self._prompts and shared < bare:
            shared = self._prompts.restore(slot, context[:bare], shared)
        if shared < bare:
            self._backend.extend(slot, shared, context[shared:bare])
        if self._prompts and branch.is_fresh:
            self._prompts.keep(slot, context[:bare], bare - shared)
        score = self._score(branch, slot, bare) if branch.needs_score else None
        self._slots.occupy(slot, context)
        self._live.append(self._waiting.popleft())
        branch.slot = slot
        branch.cached_tokens += shared
        branch.charge(shared, last)
        if score:
            branch.scored = True
            self._events.append(score)

    def _score(self, branch: Branch, slot: int, start: int) -> Chunk:
        """Write the prefix's KV, from position `start` on, and report the prefix's statistics."""
        context = branch.trail.context
        targets = context[branch.prefix_start : branch.trail.prompt_length]
        top = branch.request.params.top_logprobs
        statistics = self._backend.extend(slot, start, context[start:-1], targets, top)
        if statistics is None:
            raise BackendError("the backend scored nothing: this is a fault of the backend")
        texts = TokenTexts()
        for token in targets:
            texts.push(self._codec.token_bytes(token))
        texts.end()
        return chunk_of(branch.request, -len(targets), score_records(targets, statistics, top), texts.take())

    def _draw(self) -> None:
        """One step of all live branches."""
        rows = [_row(branch) for branch in self._live]
        try:
            drawn = self._backend.step(rows, self._end_ids)
        except BaseException:  # an interrupt too leaves KV of which nothing is known
            self._requeue()
            raise
        self._give(drawn)
        self._live = [branch for branch in self._live if branch.slot is not None]

    def _give(self, drawn: Drawn) -> None:
        """Hand each live branch what was drawn for it, and report it."""
        ids = [row[:count] for row, count in zip(drawn.ids.tolist(), drawn.counts.tolist(), strict=True)]
        tops = [branch.request.params.top_logprobs for branch in self._live]
        for branch, tokens in zip(self._live, records(ids, drawn.statistics, tops), strict=True):
            if not branch.drawn:  # the step computed the last token of what was not drawn
                branch.charge(branch.trail.prompt_length - 1, branch.trail.prompt_length)
            reason = branch.gain(tokens, self._end_ids, self._codec.token_bytes)
            chunk = branch.chunk()
            if chunk:
                self._events.append(chunk)
            if reason:
                self._finish(branch, reason)

    def _finish(self, branch: Branch, reason: Reason) -> None:
        if branch.slot is not None:
            self._slots.free(branch.slot)
            branch.slot = None
        del self._branches[branch.request]
        self._events.append(Finished(branch.request, reason, branch.cost()))

    def _requeue(self) -> None:
        """Live branches wait again, ahead of the others and in their order."""
        for branch in reversed(self._live):
            branch.slot = None
            self._waiting.appendleft(branch)
        self._live = []
        self._slots.forget()


def _row(branch: Branch) -> Row:
    context = branch.trail.context
    position = len(context) - 1
    slot = branch.slot
    assert slot is not None
    return Row(
        slot=slot,
        position=position,
        token=context[position],
        stream=branch.trail.stream,
        drawn=branch.drawn,
        params=branch.request.params,
        context=context,
        prompt_length=branch.trail.prompt_length,
        max_new=branch.limit - len(context),
    )

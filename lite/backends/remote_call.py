"""One request to the server and the branches that it draws: chunks as they come, and an honest account at the end.

Runs in the loop. What leaves it is a Note: an event, and for a branch that was not drawn to its end the reason.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lite.backends.remote_client import RemoteClient, RemoteFailure, Stream, Tally
from lite.backends.remote_config import RemoteConfig
from lite.backends.remote_wire import Damaged, Delta, Token, Usage, body_of, deltas_of, error_of
from lite.ledger import Ledger
from lite.sampler import Ability, Chunk, Event, Finished, Reason, Request

__all__ = ["Call", "Note"]

_log = logging.getLogger("lite.remote")

_HINT = "if it serves one request at a time, set concurrency to 1"
_UNFINISHED = f"the stream ended without a finish_reason; {_HINT}"
_SILENT = f"the server said nothing for this sample; {_HINT}"


@dataclass(frozen=True, slots=True)
class Note:
    """An event, and what went wrong if it is the end of a branch that failed."""

    event: Event
    failure: str = ""


@dataclass(slots=True)
class _Strand:
    """One branch of a call."""

    request: Request
    tokens: int = 0
    is_thinking: bool = False
    has_ended: bool = False  # its Finished is told
    reason: Reason | None = None  # as the server told it
    tells_logprobs: bool = True  # until a token comes without
    tells_top: bool = True


@dataclass(eq=False)
class Call:
    """Samples of one prompt in one request: choice i is the i-th of `requests`."""

    requests: Sequence[Request]
    config: RemoteConfig
    tell: Callable[[Note], None]
    task: "asyncio.Task[None] | None" = None
    _strands: list[_Strand] = field(default_factory=list)
    _tally: Tally = field(default_factory=Tally)
    _usage: Usage | None = None
    _estimate: int = 0  # of the prompt's tokens
    _has_begun: bool = False  # the server has said something
    _is_charged: bool = False  # a Finished has taken the prompt's cost

    def __post_init__(self) -> None:
        self._strands = [_Strand(request) for request in self.requests]

    async def serve(self, client: RemoteClient, model: str, can: frozenset[Ability]) -> None:
        """Draw all branches; each one's Finished is told, whatever happens."""
        failure = ""
        try:
            async with asyncio.timeout(self.config.total_seconds):
                await self._draw(client, model, can)
        except TimeoutError:
            failure = f"not done within total_seconds = {self.config.total_seconds:g}"
        except RemoteFailure as error:
            failure = str(error)
        except Damaged as error:
            failure = f"the answer is damaged: {error}"
        except Exception as error:  # noqa: BLE001  # a branch without an end would be waited for for ever
            _log.exception("a fault of lite's own")
            failure = f"a fault of lite's own: {type(error).__name__}"
        self._end(client.without_key(failure))

    def cancel(self, request: Request, at: int | None, reason: Reason) -> None:
        """End one branch now; with the last of them the connection is closed."""
        strand = next(strand for strand in self._strands if strand.request is request)
        if strand.has_ended:
            return
        self._finish(strand, reason, at=at)
        if all(one.has_ended for one in self._strands) and self.task is not None:
            self.task.cancel()

    async def _draw(self, client: RemoteClient, model: str, can: frozenset[Ability]) -> None:
        path, body, self._estimate = body_of(self.requests, self.config, model, can)
        stream = await client.open(path, body, self._tally)
        try:
            await self._follow(stream)
            client.breaker.succeeded()
        except (RemoteFailure, Damaged, TimeoutError):
            client.breaker.failed()
            raise
        except asyncio.CancelledError:
            client.breaker.abandoned()
            raise
        finally:
            await stream.close()

    async def _follow(self, stream: Stream) -> None:
        self._has_begun = True
        while (message := await stream.next()) is not None:
            if (error := error_of(message)) is not None:
                raise RemoteFailure(f"it broke off: {error}")
            self._usage = Usage.of(message) or self._usage
            for delta in deltas_of(message, has_stops=bool(self.requests[0].params.stop)):
                self._take(delta)
            if all(strand.has_ended for strand in self._strands):
                return

    def _take(self, delta: Delta) -> None:
        if not 0 <= delta.index < len(self._strands):
            return  # more choices than were asked for
        strand = self._strands[delta.index]
        if strand.has_ended or strand.reason is not None:
            return
        tokens = self._tagged(strand, delta)
        room = strand.request.params.max_tokens - strand.tokens
        if tokens[:room]:
            self.tell(Note(self._chunk(strand, tokens[:room])))
        if len(tokens) > room:  # it does not keep to max_tokens, and might go on for ever
            self._finish(strand, "length")
        strand.reason = strand.reason or delta.reason

    def _tagged(self, strand: _Strand, delta: Delta) -> Sequence[Token]:
        """The delta's tokens; at the border of a thought the token's text begins with the tag."""
        traits = self.config.traits
        reasoning, content = list(delta.reasoning), list(delta.content)
        if reasoning and not strand.is_thinking:
            strand.is_thinking = True
            reasoning[0] = _prefixed(traits.think_open, reasoning[0])
        if content and strand.is_thinking:
            strand.is_thinking = False
            content[0] = _prefixed(traits.think_close, content[0])
        return (*reasoning, *content)

    def _chunk(self, strand: _Strand, tokens: Sequence[Token]) -> Chunk:
        """Statistics are given while the server tells them for every token of the branch, and never made up."""
        logprobs = tuple(token.logprob for token in tokens if token.logprob is not None)
        strand.tells_logprobs &= len(logprobs) == len(tokens)
        asked = strand.request.params.top_logprobs
        strand.tells_top &= bool(asked) and all(token.top for token in tokens)
        start, strand.tokens = strand.tokens, strand.tokens + len(tokens)
        return Chunk(
            strand.request,
            start,
            tuple(token.id for token in tokens),
            tuple(token.text for token in tokens),
            logprobs if strand.tells_logprobs else (),
            top=tuple(token.top[:asked] for token in tokens) if strand.tells_top else (),
        )

    def _end(self, failure: str) -> None:
        for strand in self._strands:
            if not strand.has_ended:
                self._end_one(strand, failure)
        if failure:
            _log.warning("remote sampler %s: %s", self.config.host, failure)

    def _end_one(self, strand: _Strand, failure: str) -> None:
        if strand.reason is not None:
            told = "the server's filter took the rest away" if strand.reason == "failed" else ""
            self._finish(strand, strand.reason, failure=told)
        elif failure:
            self._finish(strand, "failed", failure=failure)
        elif strand.tokens >= strand.request.params.max_tokens:
            self._finish(strand, "length")
        elif strand.tokens and not self.config.stream:  # a whole answer, without a word on how it ended
            self._finish(strand, "eos")
        elif strand.tokens:
            self._finish(strand, "failed", failure=_UNFINISHED)
        else:
            self._finish(strand, "failed", failure=_SILENT)

    def _finish(self, strand: _Strand, reason: Reason, *, at: int | None = None, failure: str = "") -> None:
        strand.has_ended = True
        cost = self._cost(strand, at)
        self.tell(Note(Finished(strand.request, reason, cost), failure))

    def _cost(self, strand: _Strand, at: int | None) -> Ledger:
        """The branch's own tokens; the first branch to end carries the prompt and the requests, the last the rest."""
        drawn = self._drawn(strand)
        kept = strand.tokens if at is None else min(at, strand.tokens)
        discarded = strand.tokens - kept
        prompt, cached = self._prompt()
        money = drawn * self.config.completion_price
        calls = 0
        if not self._is_charged:
            self._is_charged = True
            calls = self._tally.requests
            money += prompt * (1 + self._tally.hedges) * self.config.prompt_price
        else:
            prompt, cached = 0, prompt
        return Ledger(
            prompt_tokens=prompt - min(cached, prompt),
            cached_tokens=cached,
            drawn_tokens=drawn - discarded,
            discarded_tokens=discarded,
            branches=1,
            remote_calls=calls,
            money=money / 1e6,
        )

    def _prompt(self) -> tuple[int, int]:
        """The prompt's tokens and how many of them the server had cached; estimated where it does not tell."""
        if self._usage is not None:
            return self._usage.prompt, self._usage.cached
        return (self._estimate, 0) if self._has_begun else (0, 0)

    def _drawn(self, strand: _Strand) -> int:
        """What was drawn: more than was seen where the server counts tokens that it does not show."""
        others = sum(one.tokens for one in self._strands if one is not strand)
        is_last = all(one.has_ended for one in self._strands)
        told = self._usage.completion - others if self._usage is not None and is_last else 0
        return max(strand.tokens, told)


def _prefixed(tag: str, token: Token) -> Token:
    return Token(tag + token.text, token.id, token.logprob, token.top)

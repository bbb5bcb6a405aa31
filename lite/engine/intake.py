"""From requests to branches: everything is encoded and checked before anything is drawn."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

from lite.backends.base import BackendSpec
from lite.codec import Codec
from lite.engine.branches import Branch, Trail
from lite.engine.text import TokenTexts, open_character
from lite.errors import InvalidRequest, PromptTooLong
from lite.params import Prompt
from lite.random import branch_stream, fork_stream
from lite.sampler import Request

__all__ = ["Intake"]

_ENCODINGS_KEPT = 256
_NUM_SAMPLES = 2**32


class Intake:
    """Makes branches of requests, for one model. Equal prompts and equal prefixes are encoded once."""

    def __init__(self, codec: Codec, spec: BackendSpec) -> None:
        self._codec = codec
        self._spec = spec
        self._encode_prompt = lru_cache(_ENCODINGS_KEPT)(self._encode_prompt_anew)
        self._encode = lru_cache(_ENCODINGS_KEPT)(self._encode_anew)

    def branches(self, requests: Sequence[Request], known: Mapping[Request, Trail]) -> list[Branch]:
        """One branch a request, in order. A parent is among `known`, or earlier in `requests`.

        Raises InvalidRequest and PromptTooLong; `known` is left as it is.
        """
        fresh: dict[Request, Trail] = {}
        branches = []
        for request in requests:
            if request in fresh or request in known:
                raise InvalidRequest("this Request object was started before: make a new one for a new branch")
            parent = request.parent
            trail = None if parent is None else self._trail(request, parent, fresh.get(parent) or known.get(parent))
            branch = self._branch(request, trail)
            fresh[request] = branch.trail
            branches.append(branch)
        return branches

    def _branch(self, request: Request, parent: Trail | None) -> Branch:
        self._check_numbers(request)
        head = self._head(request, parent)
        prefix = self._encode(request.prefix) if request.prefix else ()
        context = [*head, *prefix]
        self._check_room(len(head), len(prefix))
        if parent is None:
            stream = branch_stream(request.params.seed, request.sample)
        else:
            stream = fork_stream(parent.stream, request.at, request.sample)
        return Branch(
            request=request,
            trail=Trail(context, len(context), stream),
            prefix_length=len(prefix),
            limit=min(len(context) + request.params.max_tokens, self._spec.context_length),
            texts=TokenTexts(request.params.stop, open_character(context, self._codec.token_bytes)),
        )

    def _head(self, request: Request, parent: Trail | None) -> Sequence[int]:
        """What stands before the request's own prefix."""
        if parent is not None:
            return parent.context[: parent.prompt_length + request.at]
        if request.at:
            raise InvalidRequest(f"at={request.at} without a parent: name the Request whose tokens are to be shared")
        return self._encode_prompt(request.prompt)

    @staticmethod
    def _trail(request: Request, parent: Request, trail: Trail | None) -> Trail:
        """The parent's trail, if the request may go on from it."""
        if trail is None:
            raise InvalidRequest("the parent was never started on this sampler: start it first, or before its fork")
        if not 0 <= request.at <= trail.given:
            raise InvalidRequest(f"a fork at token {request.at} of a branch that has {trail.given}: fork within them")
        if parent.prompt is not request.prompt and parent.prompt != request.prompt:
            raise InvalidRequest("a fork repeats its parent's prompt, this one has another: start it without a parent")
        return trail

    def _check_numbers(self, request: Request) -> None:
        if not 0 <= request.sample < _NUM_SAMPLES:
            raise InvalidRequest(f"sample must be in [0, 2**32), got {request.sample}")
        bias = request.params.logit_bias
        self._check_ids("logit_bias", tuple(token for token, _ in bias))
        forbidden = {token for token, added in bias if added == -math.inf}
        if forbidden and len(forbidden | self._codec.forbidden_ids) >= self._spec.vocab_size:
            raise InvalidRequest("logit_bias forbids every token: allow at least one")

    def _check_room(self, head: int, prefix: int) -> None:
        if head + prefix + 1 > self._spec.context_length:
            raise PromptTooLong(
                f"{head} prompt tokens, {prefix} prefix tokens and one to draw exceed the context of "
                f"{self._spec.context_length} tokens: shorten the prompt, or load the model with a larger context"
            )

    def _encode_prompt_anew(self, prompt: Prompt) -> tuple[int, ...]:
        ids = tuple(self._codec.encode_prompt(prompt))
        if not ids:
            raise InvalidRequest("the prompt has no tokens: give at least one")
        return self._check_ids("the prompt", ids)

    def _encode_anew(self, text: str) -> tuple[int, ...]:
        return self._check_ids("the prefix", tuple(self._codec.encode(text)))

    def _check_ids(self, what: str, ids: tuple[int, ...]) -> tuple[int, ...]:
        size = self._spec.vocab_size
        for token in ids:
            if not 0 <= token < size:
                raise InvalidRequest(f"{what} holds token {token}, the model's vocabulary is 0..{size - 1}")
        return ids

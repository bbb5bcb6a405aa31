"""Between our Request and the JSON of an OpenAI-compatible server, in both directions; no I/O.

Nothing that a server says is trusted: a value of the wrong type raises Damaged, a statistic out of range is dropped.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeAlias, TypeGuard

from lite.backends.remote_config import RemoteConfig
from lite.errors import InvalidRequest
from lite.params import Chat, SamplingParams
from lite.sampler import Ability, Reason, Request

__all__ = ["UNKNOWN_ID", "Damaged", "Delta", "Token", "Usage", "body_of", "deltas_of", "error_of", "reason_of"]

JSON: TypeAlias = dict[str, Any]

UNKNOWN_ID = -1  # where a server tells a token's text alone
_MOST_COUNT = 10**9  # tokens; what exceeds it is no count


class Damaged(Exception):
    """The server's answer is not of the shape that it should have."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token as the server told it, or the text of one delta where it tells no tokens."""

    text: str
    id: int = UNKNOWN_ID
    logprob: float | None = None  # nats
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """What one choice has gained."""

    index: int
    reasoning: tuple[Token, ...]
    content: tuple[Token, ...]
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class Usage:
    """What the server says it counted, over all choices."""

    prompt: int
    cached: int
    completion: int

    @classmethod
    def of(cls, message: JSON) -> "Usage | None":
        """None where the message tells none, or one that cannot be."""
        usage = message.get("usage")
        if not isinstance(usage, dict):
            return None
        details = usage.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, dict) else 0
        prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if not (_is_count(prompt) and _is_count(completion)):
            return None
        return cls(prompt, min(cached, prompt) if _is_count(cached) else 0, completion)


def body_of(
    requests: Sequence[Request], config: RemoteConfig, model: str, can: frozenset[Ability]
) -> tuple[str, JSON, int]:
    """The path, the JSON and an estimate of the prompt's tokens for samples of one prompt.

    Raises InvalidRequest for what this server cannot be sent.
    """
    request = requests[0]
    params = request.params
    is_chat = config.api == "chat" or (config.api == "auto" and isinstance(request.prompt, Chat))
    texts = _cleared(request, config)
    content = _messages(request, texts, config) if is_chat else _prompt(request, texts)
    body: JSON = {"model": model} if model else {}
    body |= content | _sampling(params, config) | {"seed": _seed(request), "stream": config.stream}
    if config.stream:
        body["stream_options"] = {"include_usage": True}
    if len(requests) > 1:
        body["n"] = len(requests)
    if "logprobs" in can:
        body |= _logprobs(params, is_chat)
    estimate = math.ceil(sum(len(text.encode("utf-8", "replace")) for text in texts) / 4)
    if isinstance(request.prompt, tuple):
        estimate += len(request.prompt)
    return ("/chat/completions" if is_chat else "/completions"), body, estimate


def texts_of(request: Request) -> tuple[str, ...]:
    """All that would be sent of a request: its messages or its text, then its prefix."""
    prompt = request.prompt
    if isinstance(prompt, Chat):
        return (*(message.content for message in prompt.messages), request.prefix)
    return (prompt, request.prefix) if isinstance(prompt, str) else ("", request.prefix)


def may_be_sent(request: Request, config: RemoteConfig) -> bool:
    """Whether the user's privacy rule lets the request leave the machine."""
    if config.privacy.patterns and isinstance(request.prompt, tuple):
        return False
    return config.privacy.cleared(texts_of(request)) is not None


def _cleared(request: Request, config: RemoteConfig) -> tuple[str, ...]:
    texts = config.privacy.cleared(texts_of(request))
    assert texts is not None, "a request that may not be sent came this far"
    return texts


def _messages(request: Request, texts: Sequence[str], config: RemoteConfig) -> JSON:
    prompt, prefix = request.prompt, texts[-1]
    if isinstance(prompt, tuple):
        raise InvalidRequest("a chat server takes no token ids: set api to 'completions', or ask with a Chat")
    roles = [message.role for message in prompt.messages] if isinstance(prompt, Chat) else ["user"]
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    body: JSON = {"messages": messages}
    if prefix:
        if config.prefix_style == "none":
            raise InvalidRequest("this chat server begins its own turn: prefix_style says whether it can be given one")
        messages.append({"role": "assistant", "content": prefix})
        if config.prefix_style == "continue":
            body |= {"continue_final_message": True, "add_generation_prompt": False}
    thinking = prompt.thinking if isinstance(prompt, Chat) else None
    if thinking is not None and config.thinking_style == "template":
        body["chat_template_kwargs"] = {"enable_thinking": thinking}
    elif thinking is not None and config.thinking_style == "effort":
        body["reasoning_effort"] = "medium" if thinking else "none"
    return body


def _prompt(request: Request, texts: Sequence[str]) -> JSON:
    if isinstance(request.prompt, Chat):
        raise InvalidRequest("the completions endpoint takes no conversation: set api to 'auto' or 'chat'")
    if isinstance(request.prompt, str):
        return {"prompt": "".join(texts)}
    if request.prefix:
        raise InvalidRequest("a prefix cannot be joined to token ids without the server's tokenizer: give a text")
    return {"prompt": list(request.prompt)}


def _sampling(params: SamplingParams, config: RemoteConfig) -> JSON:
    """What differs from a server's own default; the rest is not named, as some servers refuse what they do not know."""
    plain = SamplingParams()
    names = ("top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
    body: JSON = {config.max_tokens_field: params.max_tokens, "temperature": params.temperature}
    body |= {name: getattr(params, name) for name in names if getattr(params, name) != getattr(plain, name)}
    if params.stop:
        body["stop"] = list(params.stop)
    if params.logit_bias:
        body["logit_bias"] = {str(token): min(100.0, max(-100.0, bias)) for token, bias in params.logit_bias}
    return body


def _logprobs(params: SamplingParams, is_chat: bool) -> JSON:
    """At least one of the likeliest is asked for: llama-cpp-python tells no log-probabilities at all without."""
    most = max(1, params.top_logprobs)
    return {"logprobs": True, "top_logprobs": most} if is_chat else {"logprobs": most}


def _seed(request: Request) -> int:
    """31 bits of (seed, sample): two samples of one question do not draw the same."""
    facts = f"{request.params.seed} {request.sample}".encode()
    return int.from_bytes(blake2b(facts, digest_size=4).digest(), "big") >> 1


def deltas_of(message: JSON, *, has_stops: bool = False) -> list[Delta]:
    """What a chunk of a stream, or a whole answer, adds to each choice. Raises Damaged.

    `has_stops` is whether the request had stop strings: see `reason_of`.
    """
    choices = message.get("choices", [])
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise Damaged("its choices are no list of objects")
    return [_delta(choice, has_stops) for choice in choices]


def _delta(choice: JSON, has_stops: bool) -> Delta:
    index = choice.get("index", 0)
    if not isinstance(index, int) or isinstance(index, bool):
        raise Damaged("a choice's index is no number")
    said = choice.get("delta", choice.get("message"))
    if said is None:
        said = {"content": choice.get("text")}
    if not isinstance(said, dict):
        raise Damaged("a choice says nothing that can be read")
    content = _text(said.get("content"))
    reasoning = _text(said.get("reasoning_content") or said.get("reasoning"))
    tokens = _tokens(choice.get("logprobs"))
    if reasoning and content and tokens:
        split = _split(tokens, reasoning)
        return Delta(index, _joined(reasoning, split[0]), _joined(content, split[1]), reason_of(choice, has_stops))
    used = [] if reasoning else tokens
    return Delta(
        index, _joined(reasoning, tokens if reasoning else []), _joined(content, used), reason_of(choice, has_stops)
    )


def _split(tokens: list[Token], reasoning: str) -> tuple[list[Token], list[Token]]:
    """The tokens of the reasoning, and the others."""
    length = 0
    for i, token in enumerate(tokens):
        if length >= len(reasoning):
            return tokens[:i], tokens[i:]
        length += len(token.text)
    return tokens, []


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Damaged(f"a text is of the type {type(value).__name__}")
    return value


def _joined(text: str, tokens: list[Token]) -> tuple[Token, ...]:
    """The tokens with texts that join to `text`: their own, or all of it at the first."""
    if not tokens:
        return (Token(text),) if text else ()
    if "".join(token.text for token in tokens) == text:
        return tuple(tokens)
    first, *others = tokens
    return (Token(text, first.id, first.logprob, first.top), *(Token("", t.id, t.logprob, t.top) for t in others))


def _tokens(logprobs: object) -> list[Token]:
    """The tokens of a delta, in the chat's shape or in the older one of completions; [] where none are told."""
    if not isinstance(logprobs, dict):
        return []
    if isinstance(logprobs.get("content"), list):
        return [_chat_token(entry) for entry in logprobs["content"] if isinstance(entry, dict)]
    texts, values = logprobs.get("tokens"), logprobs.get("token_logprobs")
    if not isinstance(texts, list) or not isinstance(values, list) or len(texts) != len(values):
        return []
    best = logprobs.get("top_logprobs")
    tops = best if isinstance(best, list) and len(best) == len(texts) else [None] * len(texts)
    return [
        Token(str(text), UNKNOWN_ID, _logprob(value), _ranked([(UNKNOWN_ID, v) for v in _values(top)]))
        for text, value, top in zip(texts, values, tops, strict=True)
    ]


def _chat_token(entry: JSON) -> Token:
    best = entry.get("top_logprobs")
    pairs = [(_id(one), one.get("logprob")) for one in best if isinstance(one, dict)] if isinstance(best, list) else []
    return Token(str(entry.get("token", "")), _id(entry), _logprob(entry.get("logprob")), _ranked(pairs))


def _values(top: object) -> list[object]:
    return list(top.values()) if isinstance(top, Mapping) else []


def _ranked(pairs: Sequence[tuple[int, object]]) -> tuple[tuple[int, float], ...]:
    known = [(token, value) for token, told in pairs if (value := _logprob(told)) is not None]
    by_logprob: Callable[[tuple[int, float]], float] = lambda pair: -pair[1]  # noqa: E731  # typed for the sort
    return tuple(sorted(known, key=by_logprob))


def _id(entry: JSON) -> int:
    """llama-server tells it as `id`, vLLM on request as the text "token_id:42"."""
    told = entry.get("id")
    if isinstance(told, int) and not isinstance(told, bool) and told >= 0:
        return told
    number = str(entry.get("token", "")).removeprefix("token_id:")
    return int(number) if str(entry.get("token", "")).startswith("token_id:") and number.isdecimal() else UNKNOWN_ID


def _logprob(value: object) -> float | None:
    """None for what no log-probability can be; a little above 0 is rounding."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value > 1e-3:
        return None
    return min(0.0, float(value))


def reason_of(choice: JSON, has_stops: bool) -> Reason | None:
    """How the choice ended; None while it goes on. What a filter cut away is a failure.

    Only some servers (vLLM: stop_reason) tell a stop string from the end of the turn. For the others it is taken for
    a stop string where there was one, as step-wise strategies then go on, and soon see the turn's end themselves.
    """
    told = choice.get("finish_reason")
    if told is None:
        return None
    if told == "stop":
        is_told = "stop_reason" in choice
        return "stop" if isinstance(choice.get("stop_reason"), str) or (has_stops and not is_told) else "eos"
    return {"length": "length", "max_tokens": "length", "content_filter": "failed", "error": "failed"}.get(
        str(told), "eos"
    )  # type: ignore[return-value]  # the table holds Reasons alone


def error_of(message: object) -> str | None:
    """What a server says went wrong, in one short line; None where it says nothing of the kind."""
    if not isinstance(message, dict) or not message.get("error"):
        return None
    error = message["error"]
    text = error.get("message") if isinstance(error, dict) else error
    return " ".join(str(text).split())[:200]


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_COUNT

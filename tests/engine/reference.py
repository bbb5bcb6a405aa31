"""What the engine must give, computed the slow and plain way: one branch at a time, one token at a time, no KV."""

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from lite.backends.base import Drawn, Row, Statistics
from lite.backends.table import Logits, TableBackend, hashed_logits
from lite.backends.table_codec import ByteCodec
from lite.random import branch_stream, fork_stream
from lite.sampler import Chunk, Event, Finished, Reason, Request
from lite.sampling import draw, statistics

CODEC = ByteCodec(words=(b"ab", b"bc", b"a\xc3", b"\xa9c", b"\xff"))
CONTEXT = 48


def small_alphabet(tokens: Sequence[int]) -> np.ndarray:
    """Random logits that leave a dozen likely tokens: letters, pieces of characters, the end token, words."""
    logits = hashed_logits(CODEC.vocab_size, scale=1.0)(tokens)
    likely = [*b"abc\xc3\xa9", CODEC.end_id, 258, *range(CODEC.vocab_size - 5, CODEC.vocab_size)]
    logits -= 20
    logits[likely] += 20
    return logits


class SpyBackend(TableBackend):
    """Remembers what it was asked to do."""

    def __init__(self, logits: Logits = small_alphabet, **settings: Any) -> None:
        super().__init__(
            logits,
            vocab_size=CODEC.vocab_size,
            forbidden=CODEC.forbidden_ids,
            **{"context_length": CONTEXT, **settings},
        )
        self.extended: list[tuple[int, int, int]] = []  # (slot, start, tokens), where there are tokens
        self.forked: list[tuple[int, int, int]] = []
        self.steps: list[list[Row]] = []
        self.num_drawn = 0

    def extend(
        self, slot: int, start: int, ids: Sequence[int], targets: Sequence[int] | None = None, top: int = 0
    ) -> Statistics | None:
        if ids:
            self.extended.append((slot, start, len(ids)))
        return super().extend(slot, start, ids, targets, top)

    def fork(self, source: int, target: int, length: int) -> None:
        self.forked.append((source, target, length))
        super().fork(source, target, length)

    def step(self, rows: Sequence[Row], end_ids: frozenset[int]) -> Drawn:
        self.steps.append(list(rows))
        drawn = super().step(rows, end_ids)
        self.num_drawn += int(drawn.counts.sum())
        return drawn

    @property
    def num_computed(self) -> int:
        """Tokens computed that were not drawn: written, or fed as the last before the first draw."""
        fed = sum(row.drawn == 0 for rows in self.steps for row in rows)
        return sum(tokens for _, _, tokens in self.extended) + fed


@dataclass
class Expected:
    """One branch, drawn alone."""

    context: list[int]
    prompt_length: int
    stream: tuple[int, int]
    ids: list[int]
    texts: list[str]
    statistics: list[tuple[float, ...]]  # logprob, entropy, certainty
    top: list[tuple[tuple[int, float], ...]]
    reason: Reason
    score: list[tuple[float, ...]]


def expect(request: Request, done: Mapping[Request, Expected], logits: Logits = small_alphabet) -> Expected:
    """The branch of `request`; `done` has its parent."""
    params = request.params
    if request.parent:
        parent = done[request.parent]
        head = [*parent.context[: parent.prompt_length], *parent.ids[: request.at]]
        stream = fork_stream(parent.stream, request.at, request.sample)
    else:
        head = list(CODEC.encode_prompt(request.prompt))
        stream = branch_stream(params.seed, request.sample)
    prefix = list(CODEC.encode(request.prefix))
    context = head + prefix
    size = len(context)
    scored = [statistics(logits(context[:i])[None], np.array([context[i]]), 0) for i in range(len(head), size)]
    forbidden = np.zeros(CODEC.vocab_size, np.bool_)
    forbidden[list(CODEC.forbidden_ids)] = True
    limit = min(params.max_tokens, CONTEXT - size)
    found: list[Statistics] = []
    begun = unfinished(b"".join(map(CODEC.token_bytes, context)))
    while True:
        row = Row(0, len(context) - 1, context[-1], stream, len(found), params, context, size, 1)
        drawn = draw(logits(context)[None], [row], forbidden=forbidden)
        context = [*context, int(drawn.ids[0, 0])]
        found.append(drawn.statistics)
        texts, reason = expected_texts(context[size:], params.stop, begun, limit)
        if reason:
            break
    return Expected(
        context=context,
        prompt_length=size,
        stream=stream,
        ids=context[size:],
        texts=texts,
        statistics=[plain(each) for each in found],
        top=[best(each)[: params.top_logprobs] for each in found],
        reason=reason,
        score=[plain(each) for each in scored] if request.score else [],
    )


def plain(found: Statistics) -> tuple[float, ...]:
    return tuple(float(array.ravel()[0]) for array in (found.logprob, found.entropy, found.certainty))


def best(found: Statistics) -> tuple[tuple[int, float], ...]:
    return tuple(zip(found.top_ids.ravel().tolist(), found.top_logprobs.ravel().tolist(), strict=True))


def unfinished(data: bytes) -> bytes:
    return data[codecs.utf_8_decode(data, "replace", False)[1] :]


def expected_texts(
    ids: Sequence[int], stops: Sequence[str], begun: bytes, limit: int
) -> tuple[list[str], Reason | None]:
    """Each token's text by decoding everything before it anew, and why the branch ends with the last one."""
    pieces = [CODEC.token_bytes(token) for token in ids]
    lengths = [0]
    text = ""
    for count in range(1, len(ids) + 1):
        text = codecs.utf_8_decode(begun + b"".join(pieces[:count]), "replace", False)[0]
        lengths.append(len(text))
    starts = [text.find(stop) for stop in stops if stop in text]
    ended = ids[-1] in CODEC.end_ids
    stopped = bool(starts) and not ended
    if stopped:
        text = text[: min(starts)]
    texts = [text[start:end] for start, end in pairwise(lengths)]
    if stopped:
        return texts, "stop"
    if not ended and len(ids) < limit:
        return texts, None
    last = len(ids) - 2 if ended else len(ids) - 1
    if last >= 0 and unfinished(begun + b"".join(pieces)):
        texts[last] += "\ufffd"
    return texts, "eos" if ended else "length"


@dataclass
class Record:
    """All events of a run, by request."""

    chunks: dict[Request, list[Chunk]]
    finished: dict[Request, Finished]

    @classmethod
    def empty(cls) -> "Record":
        return cls({}, {})

    def add(self, events: Sequence[Event]) -> None:
        for event in events:
            assert event.request not in self.finished, "an event after Finished"
            if isinstance(event, Finished):
                self.finished[event.request] = event
            else:
                self.chunks.setdefault(event.request, []).append(event)

    def drawn(self, request: Request) -> list[Chunk]:
        return [chunk for chunk in self.chunks.get(request, []) if chunk.start >= 0]

    def ids(self, request: Request) -> list[int]:
        return [token for chunk in self.drawn(request) for token in chunk.ids]

    def texts(self, request: Request) -> list[str]:
        return [text for chunk in self.drawn(request) for text in chunk.texts]

    def text(self, request: Request) -> str:
        return "".join(self.texts(request))

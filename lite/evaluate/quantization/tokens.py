"""Two models fed the same tokens: how far their distributions are apart at each, over the whole vocabulary.

Both are open at once and are read in chunks of positions, so that memory stays bounded whatever the vocabulary.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lite.backends.base import Backend, BackendSpec
from lite.errors import Unsupported, UsageError
from lite.evaluate.quantization.documents import Document
from lite.sampling import statistics

__all__ = ["Compared", "Reader", "Side", "compare", "divergence"]

Logits = NDArray[np.float32]
Values = NDArray[np.float64]

_CHUNK = 128  # positions that a backend writes at once at most
_BLOCK = 1 << 20  # logits that are held as float64 at once


@runtime_checkable
class _ShowsLogits(Protocol):
    """What backends of the host's memory have beyond `Backend`."""

    @property
    def spec(self) -> BackendSpec: ...
    def write(self, slot: int, start: int, ids: Sequence[int], *, scored: bool) -> Logits | None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """What one model says of the tokens, one value for each, in nats."""

    logprob: Values
    entropy: Values
    certainty: Values


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """One value for each scored token, document after document."""

    reference: Side
    candidate: Side
    divergence: Values  # KL(reference || candidate), nats
    same_best: Values  # 1 where both find the same token likeliest, else 0
    document: NDArray[np.int64]
    cluster: NDArray[np.int64]


class Reader:
    """A model's logits after each token of a document, which it is fed in slot 0.

    Up to `most_kept` bytes of them are kept for the next time that the same documents are read. Raises Unsupported
    for a backend that shows no logits.
    """

    def __init__(self, backend: Backend, *, most_kept: int = 0) -> None:
        if not isinstance(backend, _ShowsLogits):
            raise Unsupported(f"the engine {backend.spec.engine} shows no logits, only what is drawn from them")
        self.vocab_size = backend.spec.vocab_size
        self._backend = backend
        self._room = most_kept
        self._kept: dict[Document, list[Logits]] = {}
        self._written: tuple[int, ...] | None = None  # what slot 0 begins with

    def logits(self, document: Document) -> Iterator[Logits]:
        """In chunks of positions, from the context's last token on; a chunk lasts until the next one."""
        if document in self._kept:
            yield from self._kept[document]
            return
        size = 4 * self.vocab_size * len(document.ids)
        keep = size <= self._room
        chunks = []
        for chunk in self._read(document):
            if keep:
                chunks.append(chunk.copy())
            yield chunk
        if keep:
            self._room -= size
            self._kept[document] = chunks

    def _read(self, document: Document) -> Iterator[Logits]:
        bare = document.context[:-1]
        if bare != self._written:
            for start in range(0, max(1, len(bare)), _CHUNK):
                self._backend.write(0, start, bare[start : start + _CHUNK], scored=False)
            self._written = bare
        fed = (document.context[-1], *document.ids[:-1])
        for start in range(0, len(fed), _CHUNK):
            logits = self._backend.write(0, len(bare) + start, fed[start : start + _CHUNK], scored=True)
            assert logits is not None
            yield logits


def compare(reference: Reader, candidate: Reader, documents: Sequence[Document]) -> Generator[int, None, Compared]:
    """Have both read every document. Yields how many are done; raises UsageError for two vocabularies."""
    sizes = reference.vocab_size, candidate.vocab_size
    if sizes[0] != sizes[1]:
        raise UsageError(f"the models have different vocabularies, of {sizes[0]} and {sizes[1]} tokens")
    parts: list[tuple[Values, ...]] = []
    for done, document in enumerate(documents, 1):
        targets, start = np.array(document.ids), 0
        for first, second in zip(reference.logits(document), candidate.logits(document), strict=True):
            parts.append(_compared(first, second, targets[start : start + len(first)]))
            start += len(first)
        yield done
    return _joined(parts, documents)


def divergence(reference: Logits, candidate: Logits) -> Values:
    """KL(p || q) of each row's distributions, in nats; logits of shape (rows, V), masked ones -inf.

    In float64: it is a small difference of large sums, where the weights are close.
    """
    found = np.empty(len(reference))
    size = max(1, _BLOCK // reference.shape[1])
    with np.errstate(invalid="ignore"):  # -inf less -inf, where p is 0
        for start in range(0, len(reference), size):
            rows = slice(start, start + size)
            p, q = _log_softmax(reference[rows]), _log_softmax(candidate[rows])
            weights = np.exp(p)
            found[rows] = np.where(weights > 0, weights * (p - q), 0).sum(axis=1)
    return np.maximum(found, 0)


def _log_softmax(logits: Logits) -> Values:
    values = logits.astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    values -= np.log(np.exp(values).sum(axis=1, keepdims=True))
    return values


def _compared(first: Logits, second: Logits, targets: NDArray[np.int64]) -> tuple[Values, ...]:
    """(reference's logprob, entropy, certainty, candidate's three, divergence, same best)"""
    own, other = statistics(first, targets, 1), statistics(second, targets, 1)
    columns = [getattr(side, name) for side in (own, other) for name in ("logprob", "entropy", "certainty")]
    same = own.top_ids[:, 0] == other.top_ids[:, 0]
    return (*(column.astype(np.float64) for column in columns), divergence(first, second), same.astype(np.float64))


def _joined(parts: Iterable[tuple[Values, ...]], documents: Sequence[Document]) -> Compared:
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    lengths = [len(document.ids) for document in documents]
    _, clusters = np.unique([document.cluster for document in documents], return_inverse=True)
    return Compared(
        reference=Side(*columns[:3]),
        candidate=Side(*columns[3:6]),
        divergence=columns[6],
        same_best=columns[7],
        document=np.repeat(np.arange(len(documents)), lengths),
        cluster=np.repeat(clusters, lengths),
    )

"""What a call gives back: how far its samples are, and then its result."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import isfinite

from lite.ledger import Ledger
from lite.sampler import Answer, Candidate, Reason

__all__ = ["Progress", "Result"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One branch has gained tokens, or has ended."""

    branch: int  # numbered from 0 in the order in which the strategy started them
    sample: int  # which of the N samples the branch draws
    text: str  # what it has gained since its last progress
    tokens: int  # what it has drawn by now
    reason: Reason | None = None  # how it ended; None while it goes on


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An answer, what it cost, and who drew it.

    All but the cost is the same in every call with the same model, engine, settings and seed. The cost too, apart
    from `cost.seconds`, in the first call on a freshly loaded model; later ones may find the prompt in the cache.
    """

    text: str  # the winner's, without its thought; the candidates' are whole
    value: str | None  # the extracted answer; None when there is none in the text
    confidence: float | None  # in [0, 1]: the winner's share of the votes, where there is a vote
    candidates: tuple[Candidate, ...]  # ordered by sample
    cost: Ledger
    strategy: str
    model: str
    engine: str
    format: str
    seed: int | None  # None where the strategy tells no candidates
    failures: tuple[str, ...] = ()  # why branches failed or were withheld, each reason once

    @classmethod
    def of(
        cls,
        answer: Answer,
        *,
        strategy: str,
        model: str,
        engine: str,
        format: str,  # noqa: A002
        failures: Iterable[str] = (),
    ) -> "Result":
        """What a strategy returned, with the candidates put in order."""
        ordered = tuple(sorted(answer.candidates, key=lambda candidate: candidate.request.sample))
        seed = ordered[0].request.params.seed if ordered else None
        return cls(
            text=answer.text,
            value=answer.value,
            confidence=answer.confidence,
            candidates=ordered,
            cost=answer.cost,
            strategy=strategy,
            model=model,
            engine=engine,
            format=format,
            seed=seed,
            failures=tuple(dict.fromkeys(failures)),
        )

    @property
    def failure(self) -> str:
        """Why there is no answer: in one line, where every candidate failed or was withheld; "" otherwise."""
        lost = [candidate.reason in ("failed", "withheld") for candidate in self.candidates]
        if not lost or not all(lost):
            return ""
        return "; ".join(self.failures) or "every sample failed or was withheld"

    def as_dict(self, *, timings: bool = False) -> dict[str, object]:
        """Plain values for JSON, in a fixed order. `timings` adds what differs from run to run.

        `votes` stands beside the candidates, one number for each: it depends on the other samples, they do not.
        """
        cost = asdict(self.cost)
        if not timings:
            del cost["seconds"], cost["joules"]
        return {
            "text": self.text,
            "value": self.value,
            "confidence": self.confidence,
            "strategy": self.strategy,
            "model": self.model,
            "engine": self.engine,
            "format": self.format,
            "seed": self.seed,
            "candidates": [_candidate(candidate) for candidate in self.candidates],
            "votes": [candidate.votes for candidate in self.candidates],
            "cost": cost,
            "failures": list(self.failures),
        }

    def to_json(self, *, timings: bool = False, indent: int | None = None) -> str:
        """`as_dict` as JSON text."""
        return json.dumps(self.as_dict(timings=timings), ensure_ascii=False, indent=indent, allow_nan=False)


def _candidate(candidate: Candidate) -> dict[str, object]:
    score = candidate.score
    return {
        "sample": candidate.request.sample,
        "sampler": candidate.request.sampler,
        "text": candidate.text,
        "value": candidate.value,
        "score": score if score is not None and isfinite(score) else None,
        "tokens": candidate.tokens,
        "reason": candidate.reason,
    }

"""Whether another engine, format or server would have drawn the tokens of a log (arXiv:2511.20621).

Where the log's engine draws with our random bits, every token is drawn again and must be the same but for near-ties,
whose `lead` is about 0. Where it drew with its own (a remote server), the recorded tokens are only scored, and their
log-probabilities must agree.
"""

import json
import math
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lite.codec import Codec
from lite.engine.branches import Trail
from lite.engine.intake import Intake
from lite.errors import PromptTooLong
from lite.evaluate.entries import Entry, make_entry
from lite.evaluate.forcing import Forced, Redrawn, force, score
from lite.evaluate.log import Log, LoggedBranch, Plain, read_branch
from lite.evaluate.parts import Parts
from lite.evaluate.replay import options_of
from lite.evaluate.significance import wilson
from lite.record import Encoder, from_lines
from lite.sampler import Request

__all__ = ["NEAR_TIE", "Difference", "Verified", "draws_anew", "verify"]

NEAR_TIE = 0.05  # nats of lead: below, engines that round differently may part
_FOREIGN_ENGINES = ("remote", "foreign")  # they draw with random numbers of their own
_MOST_DIFFERENCES = 1000
_UNKNOWN_ID = -1


@dataclass(frozen=True, slots=True)
class Difference:
    """A token that the verifying engine would not have drawn."""

    question: str
    sample: int
    position: int
    recorded: int
    drawn: int
    lead: float  # of the drawn token
    recorded_logprob: float  # as the verifying engine tells it


@dataclass(slots=True)
class Verified:
    """What has been verified so far."""

    redrawn: bool  # False: only scored
    branches: int = 0
    identical: int = 0  # branches without a difference
    skipped: int = 0  # that could not be read as tokens of this model, or do not fit its context
    tokens: int = 0
    matched: int = 0
    differences: list[Difference] = field(default_factory=list)  # the first 1000
    _leads: list[NDArray[np.float64]] = field(default_factory=list)
    _lost: list[NDArray[np.float64]] = field(default_factory=list)  # leads where another token was drawn
    _drifts: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)

    def add(self, question: str, line: Plain, forced: Forced, redrawn: Redrawn, branch: LoggedBranch) -> None:
        """Take in a branch."""
        self.branches += 1
        self.tokens += len(forced.ids)
        told = {"logprob": branch.drawn.logprobs, "entropy": branch.drawn.entropy, "certainty": branch.drawn.certainty}
        for name, recorded in told.items():
            if recorded:
                count = min(len(recorded), len(forced.ids))
                drift = np.abs(getattr(redrawn, name)[:count] - np.array(recorded[:count]))
                self._drifts.setdefault(name, []).append(drift)
        if not self.redrawn:
            return
        same = redrawn.ids == np.array(forced.ids)
        self.matched += int(same.sum())
        self.identical += bool(same.all())
        self._leads.append(redrawn.lead)
        self._lost.append(redrawn.lead[~same])
        for position in np.flatnonzero(~same)[: _MOST_DIFFERENCES - len(self.differences)].tolist():
            self.differences.append(
                Difference(
                    question,
                    line["sample"],
                    position,
                    forced.ids[position],
                    int(redrawn.ids[position]),
                    float(redrawn.lead[position]),
                    float(redrawn.logprob[position]),
                )
            )

    @property
    def match_rate(self) -> float | None:
        """The share of tokens that are drawn again; None where nothing was."""
        return self.matched / self.tokens if self.redrawn and self.tokens else None

    def plain(self) -> Plain:
        """For JSON: rates, the leads' quantiles, and how far the statistics have drifted, in nats."""
        lost = _joined(self._lost)
        rate = self.match_rate
        return {
            "redrawn": self.redrawn,
            "branches": self.branches,
            "skipped_branches": self.skipped,
            "tokens": self.tokens,
            "matched": self.matched if self.redrawn else None,
            "match_rate": rate,
            "interval": None if rate is None else list(wilson(self.matched, self.tokens)),
            "identical_branches": self.identical if self.redrawn else None,
            "lead": _quantiles(_joined(self._leads)),
            "lead_at_differences": _quantiles(lost),
            "near_ties": int((lost < NEAR_TIE).sum()),
            "drift": {name: _drift(_joined(parts)) for name, parts in self._drifts.items()},
            "differences": [
                {name: _finite(getattr(one, name)) for name in Difference.__slots__} for one in self.differences
            ],
        }


def draws_anew(log: Log, sampler: str) -> bool:
    """Whether a sampler's tokens were drawn with our random bits, so that they can be drawn again.

    All our own engines can fork, and no server can.
    """
    is_ours = sampler != "local" or log.head["model"]["engine"] not in _FOREIGN_ENGINES
    return is_ours and "fork" in log.head["samplers"][sampler]["can"]


def verify(
    log: Log, parts: Parts, *, questions: Iterable[str] | None = None, sampler: str = "local"
) -> Generator[Verified, None, None]:
    """Verify question by question the branches of one of the log's samplers; yields the growing result after each."""
    result = Verified(redrawn=draws_anew(log, sampler))
    reader = _Reader(log, parts, sampler)
    for name in log.items if questions is None else questions:
        lines = list(log.lines(name))
        found = reader.read(name, lines)
        result.skipped += sum(line["request"]["sampler"] == sampler for line in lines) - len(found)
        forced = [one for _, one in found]
        if result.redrawn:
            redrawn = force(parts.backend, forced, parts.codec.end_ids) if forced else []
        else:
            redrawn = [score(parts.backend, one) for one in forced]
        for (line, one), again in zip(found, redrawn, strict=True):
            result.add(name, line, one, again, read_branch(line))
        yield result


class _Reader:
    """Makes of recorded lines what can be fed to the backend."""

    def __init__(self, log: Log, parts: Parts, sampler: str) -> None:
        self._log = log
        self._sampler = sampler
        self._codec = parts.codec
        self._spec = parts.backend.spec
        self._intake = Intake(parts.codec, parts.backend.spec)
        self._entries: dict[str, Entry] = {}

    def read(self, question: str, lines: Sequence[Plain]) -> list[tuple[Plain, Forced]]:
        """The question's branches that can be read, parents before their forks."""
        left = {line["branch"]: line for line in lines if line["request"]["sampler"] == self._sampler}
        requests: dict[str, Request] = {}
        trails: dict[Request, Trail] = {}
        found: list[tuple[Plain, Forced]] = []
        while ready := [line for line in left.values() if line["parent"] is None or line["parent"] in requests]:
            for line in ready:
                del left[line["branch"]]
                request = self._request(question, line, requests.get(line["parent"]))
                forced = self._forced(request, line, trails)
                if forced is not None:
                    requests[line["branch"]] = request
                    found.append((line, forced))
        return found

    def _request(self, question: str, line: Plain, parent: Request | None) -> Request:
        """The recorded request; a prompt that the line leaves out is the question as its strategy asks it."""
        plain = {**line["request"], "request": 0, "parent": None}
        if parent is not None:
            plain["prompt"] = ""
        elif plain["prompt"] is None:
            asked = self._entry(line["strategy"]).question(self._log.items[question])
            (told,) = Encoder().commands([Request(asked.prompt)])
            plain["prompt"] = told["prompt"]
        request = _decoded(plain)
        return request if parent is None else replace(request, prompt=parent.prompt, parent=parent)

    def _entry(self, label: str) -> Entry:
        if label not in self._entries:
            self._entries[label] = make_entry(label or "majority", options_of(self._log))
        return self._entries[label]

    def _forced(self, request: Request, line: Plain, trails: dict[Request, Trail]) -> Forced | None:
        """None for a branch of another model's tokens, of none, or too long; its trail is noted for its forks."""
        ids = self._ids(line)
        try:
            (branch,) = self._intake.branches([request], trails)
        except PromptTooLong:
            return None
        trail = branch.trail
        if ids is None or trail.prompt_length + len(ids) > self._spec.context_length:
            return None
        context = tuple(trail.context)
        trail.context.extend(ids)
        trail.given = len(ids)
        trails[request] = trail
        return Forced(context, ids, trail.stream, replace(request.params, top_logprobs=0))

    def _ids(self, line: Plain) -> tuple[int, ...] | None:
        """The drawn tokens' ids; where a server told none, those that the texts are encoded to, token by token."""
        begin = max(0, -line["start"])
        ids, texts = tuple(line["ids"][begin:]), line["texts"][begin:]
        if self._log.head["model"]["engine"] == "foreign" or _UNKNOWN_ID in ids:
            return _encoded(self._codec, texts)
        fits = all(0 <= token < self._spec.vocab_size for token in ids)
        return ids if ids and fits else None


def _decoded(plain: Plain) -> Request:
    header = json.dumps({"lite_record": 1, "models": {}})
    record = from_lines([header, json.dumps({"events": [], "commands": [plain]})])
    request = record.exchanges[0].commands[0]
    assert isinstance(request, Request)
    return request


def _encoded(codec: Codec, texts: Sequence[str]) -> tuple[int, ...] | None:
    """The ids of these texts, one each but for an end without a text; None where this model cuts them otherwise."""
    told = list(texts)
    while told and not told[-1]:
        told.pop()
    ids = tuple(codec.encode("".join(told)))
    cut = [codec.token_bytes(token).decode("utf-8", "replace") for token in ids]
    return ids if ids and cut == told else None


def _joined(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate(parts) if parts else np.zeros(0)


def _quantiles(values: NDArray[np.float64]) -> Plain | None:
    """An infinite lead, of a token without a rival, is told as null."""
    if not values.size:
        return None
    names = {"least": 0.0, "p5": 0.05, "median": 0.5, "p95": 0.95, "most": 1.0}
    return {name: _finite(float(np.quantile(values, share, method="lower"))) for name, share in names.items()}


def _drift(values: NDArray[np.float64]) -> Plain | None:
    """Mean and extremes of the distances."""
    known = values[np.isfinite(values)]
    if not known.size:
        return None
    return {"mean": float(known.mean()), "p99": float(np.quantile(known, 0.99)), "most": float(known.max())}


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value

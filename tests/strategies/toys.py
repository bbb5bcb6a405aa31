"""Small strategies, one for each thing that a flow can do. They keep the interface's law: decide at a position."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import ClassVar

from lite.params import SamplingParams
from lite.sampler import Ability, Answer, Cancel, Candidate, Chunk, Command, Event, Finished, Flow, Question, Request


@dataclass
class Seen:
    """What a flow knows of one branch."""

    request: Request
    texts: list[str] = field(default_factory=list)
    certainty: list[float] = field(default_factory=list)
    finished: Finished | None = None

    def take(self, event: Event) -> None:
        if isinstance(event, Finished):
            self.finished = event
        elif event.start >= 0:
            self.texts.extend(event.texts)
            self.certainty.extend(event.certainty)

    def candidate(self, votes: float = 0.0, length: int | None = None) -> Candidate:
        text = "".join(self.texts[:length])
        certainty = self.certainty[:length]
        return Candidate(
            request=self.request,
            text=text,
            value=last_word(text),
            score=fmean(certainty) if certainty else None,
            votes=votes,
            tokens=len(self.texts[:length]),
            reason=self.finished.reason if self.finished else "cancelled",
        )


def last_word(text: str) -> str | None:
    return text.split()[-1] if text.split() else None


@dataclass(frozen=True, kw_only=True)
class Vote:
    """N samples, the commonest last word; ties to the lower branch."""

    samples: int = 4
    sampler: str = "local"
    max_tokens: int = 60

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return {self.sampler: frozenset({"certainty"})}

    def __call__(self, question: Question) -> Flow:
        params = SamplingParams(max_tokens=self.max_tokens)
        seen = {
            request: Seen(request)
            for request in (
                Request(question.prompt, params, sample=i, sampler=self.sampler) for i in range(self.samples)
            )
        }
        commands: Sequence[Command] = tuple(seen)
        while not all(branch.finished for branch in seen.values()):
            for event in (yield commands):
                seen[event.request].take(event)
            commands = ()
        ballot = Counter(last_word("".join(branch.texts)) for branch in seen.values())
        value, votes = ballot.most_common(1)[0]
        candidates = tuple(branch.candidate(1.0) for branch in seen.values())
        text = next(candidate.text for candidate in candidates if candidate.value == value)
        return Answer(text=text, value=value, confidence=votes / self.samples, candidates=candidates)


@dataclass(frozen=True, kw_only=True)
class EarlyStop:
    """One branch, cancelled where the mean certainty of the last `window` tokens first exceeds `enough`."""

    window: int = 4
    enough: float = 12.0

    needs: ClassVar = {"local": frozenset({"certainty"})}

    def __call__(self, question: Question) -> Flow:
        branch = Seen(Request(question.prompt))
        end: int | None = None
        commands: Sequence[Command] = (branch.request,)
        while branch.finished is None:
            for event in (yield commands):
                branch.take(event)
            commands = ()
            if end is None:
                end = self._decide(branch.certainty)
                commands = () if end is None or branch.finished else (Cancel(branch.request, end),)
        candidate = branch.candidate(length=end)
        return Answer(text=candidate.text, value=candidate.value, confidence=None, candidates=(candidate,))

    def _decide(self, certainty: Sequence[float]) -> int | None:
        ends = range(self.window, len(certainty) + 1)
        return next((end for end in ends if fmean(certainty[end - self.window : end]) > self.enough), None)


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Forks a short answer off the running thought every few tokens; stops when two in a row agree."""

    every: int = 5

    needs: ClassVar = {"local": frozenset({"fork", "prefix"})}

    def __call__(self, question: Question) -> Flow:
        main = Seen(Request(question.prompt))
        probes: list[Seen] = []
        commands: list[Command] = [main.request]
        while True:
            for event in (yield commands):
                next(branch for branch in (main, *probes) if branch.request is event.request).take(event)
            commands = self._forks(main, probes)
            said = [last_word("".join(probe.texts)) for probe in self._settled(probes)]
            agreed = next((i for i in range(1, len(said)) if said[i] == said[i - 1]), None)
            if agreed is not None:
                return self._answer(main, probes[: agreed + 1], said[agreed])
            if main.finished and len(said) == len(probes) and not commands:
                return self._answer(main, probes, last_word("".join(main.texts)))

    def _forks(self, main: Seen, probes: list[Seen]) -> list[Command]:
        forks: list[Command] = []
        while len(main.texts) >= self.every * (len(probes) + 1):
            at = self.every * (len(probes) + 1)
            fork = Request(
                main.request.prompt, SamplingParams(max_tokens=4), prefix=" Answer:", parent=main.request, at=at
            )
            probes.append(Seen(fork))
            forks.append(fork)
        return forks

    def _settled(self, probes: Sequence[Seen]) -> Sequence[Seen]:
        unsettled = next((i for i, probe in enumerate(probes) if probe.finished is None), len(probes))
        return probes[:unsettled]

    def _answer(self, main: Seen, probes: Sequence[Seen], value: str | None) -> Answer:
        candidates = tuple(probe.candidate() for probe in probes)
        length = probes[-1].request.at if probes else None
        return Answer(text="".join(main.texts[:length]), value=value, confidence=None, candidates=candidates)


@dataclass(frozen=True, kw_only=True)
class Route:
    """The small sampler's vote where it is clear, the big one's otherwise."""

    enough: float = 0.75

    needs: ClassVar = {"local": frozenset({"certainty"}), "big": frozenset({"certainty"})}

    def __call__(self, question: Question) -> Flow:
        answer = yield from Vote(samples=3)(question)
        if answer.confidence is not None and answer.confidence >= self.enough:
            return answer
        return (yield from Vote(samples=2, sampler="big")(question))


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """One sample after another, until two have the same last word."""

    most: int = 6

    needs: Mapping[str, frozenset[Ability]] = field(default_factory=dict)

    def __call__(self, question: Question) -> Flow:
        candidates: list[Candidate] = []
        for i in range(self.most):
            branch = Seen(Request(question.prompt, sample=i))
            commands: Sequence[Command] = (branch.request,)
            while branch.finished is None:
                for event in (yield commands):
                    branch.take(event)
                commands = ()
            candidates.append(branch.candidate())
            value = candidates[-1].value
            if value in [candidate.value for candidate in candidates[:-1]]:
                break
        return Answer(text=candidates[-1].text, value=value, confidence=None, candidates=tuple(candidates))


def told(answer: Answer) -> tuple[object, ...]:
    """All that a law may speak of: everything but the cost and the requests' identity."""
    candidates = tuple((c.text, c.value, c.score, c.votes, c.tokens, c.request.sample) for c in answer.candidates)
    return answer.text, answer.value, answer.confidence, candidates


def given(events: Sequence[Event]) -> list[tuple[int, int | str]]:
    """Sample and position of each token, sample and reason of each end."""
    seen: list[tuple[int, int | str]] = []
    for event in events:
        if isinstance(event, Chunk):
            seen += [(event.request.sample, event.start + i) for i in range(len(event.ids))]
        else:
            seen.append((event.request.sample, event.reason))
    return seen

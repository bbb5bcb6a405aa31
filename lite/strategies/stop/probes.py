"""Single traces that are asked for their answer while they think, and stopped when it has settled.

After a step the trace is forked where the step ends, its thought is closed, and a cue makes the fork say its answer,
greedily and in a few tokens: a probe. Probes share the trace's KV, and those of all traces run in one batch, beside
the traces. They are read in the order of their positions; the trace is stopped at the first one that settles it, and
its answer is that probe's. What it drew meanwhile is discarded. With more than one trace each stops on its own, and
they vote.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from lite.answers import normalize, value_of
from lite.params import SamplingParams
from lite.sampler import Ability, Cancel, Command, Event, Flow, Question, Request
from lite.strategies.branches import Branch, requests_of
from lite.strategies.fields import check_samples, setting
from lite.strategies.select.majority import majority
from lite.strategies.stop.cuts import joined
from lite.strategies.stop.steps import StepEnds, check_steps
from lite.strategies.stop.thought import closing_cue, has_closed
from lite.strategies.verdict import picked, read, value_in, voted

__all__ = ["STEP_DOC", "Probe", "Probing", "Trace"]

STEP_DOC = "what a step is: sentence, line, paragraph, reflection, token, or a text that ends one"


class Probe(NamedTuple):
    """What a trace answered when it was asked after its first `at` tokens."""

    at: int
    prefix: str  # what the fork was made to say
    branch: Branch  # what it said then
    text: str  # the cue and what it said
    value: str | None
    answer: Hashable | None  # equal for equal values


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing:
    """The settings of probes, and the flow. A strategy says in `settled` when a trace's answer is settled."""

    samples: int = setting(1, "traces; each is stopped on its own, and they vote")
    params: SamplingParams = field(default_factory=SamplingParams)
    sampler: str = setting("local", "which sampler draws")
    step: str = setting("sentence", STEP_DOC)
    every: int = setting(1, "probe after every so many steps")
    cue: str = setting("The answer is", "what a probe is made to say once its thought is closed")
    probe_tokens: int = setting(16, "the most tokens of a probe")
    probe_end: Literal["line", "turn"] = setting("line", "what ends a probe: its first line's end, or the model alone")

    def __post_init__(self) -> None:
        check_samples(self.samples)
        check_steps(self.step, self.every)
        if self.probe_tokens < 1:
            raise ValueError(f"probe_tokens must be at least 1, got {self.probe_tokens}")

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return {self.sampler: frozenset({"prefix", "fork"})}

    @property
    def at_once(self) -> int:
        """Branches that want to be live together: each trace with a probe beside it."""
        return 2 * self.samples

    def settled(self, probes: Sequence[Probe]) -> bool:
        """Whether the last of these probes, which are a trace's first ones in order, settles the answer."""
        raise NotImplementedError

    def halted(self, traces: Sequence["Trace"]) -> list[Cancel]:
        """Stop traces for what they say together."""
        return []

    def __call__(self, question: Question) -> Flow:
        requests = requests_of(question, samples=self.samples, params=self.params, sampler=self.sampler)
        traces = [Trace(question, request, self) for request in requests]
        commands: Sequence[Command] = requests
        while commands or any(trace.is_open for trace in traces):
            events = yield commands
            for trace in traces:
                trace.take(events)
            commands = [*(command for trace in traces for command in trace.react()), *self.halted(traces)]
        branches = [trace.conclusion() for trace in traces]
        ballot = read(question, branches)
        scores = [branch.mean_logprob for branch in branches]
        return picked(ballot, scores) if self.samples == 1 else voted(ballot, majority(ballot.answers), scores)


class Trace:
    """One trace and its probes."""

    def __init__(self, question: Question, request: Request, settings: Probing) -> None:
        self.main = Branch(request)
        self.probes: list[Probe] = []  # that have ended, by position, with none left out
        self.stop: Probe | None = None
        self.question = question
        self._settings = settings
        self._ends = StepEnds(settings.step, settings.every)
        self._waiting: dict[Request, Branch] = {}  # probes that are not read, by position

    @property
    def is_open(self) -> bool:
        """Whether there is more to wait for."""
        return self.stop is None and (self.main.finished is None or bool(self._waiting))

    def take(self, events: Sequence[Event]) -> None:
        """Take in what is this trace's own."""
        for event in events:
            if event.request is self.main.request:
                self.main.add(event)
            elif event.request in self._waiting:
                self._waiting[event.request].add(event)

    def react(self) -> Sequence[Command]:
        """Read the probes that have ended, and stop, or ask on."""
        if self.stop is not None:
            return []
        while self._waiting and (following := next(iter(self._waiting.values()))).finished:
            del self._waiting[following.request]
            self.probes.append(self._read(following))
            if self._settings.settled(self.probes):
                return self.stopped(self.probes[-1])
        return self._ask()

    def stopped(self, probe: Probe) -> list[Cancel]:
        """Stop at the probe, which gives the answer."""
        self.stop = probe
        late = [*self._waiting, *(later.branch.request for later in self.probes if later.at > probe.at)]
        return [Cancel(self.main.request, probe.at), *(Cancel(request, 0) for request in late)]

    def value_at(self, checkpoint: int) -> str | None:
        """What the trace answers at its probe of that number, or at its end where that came before."""
        if checkpoint < len(self.probes):
            return self.probes[checkpoint].value
        return value_in(self.question, self.main)

    def conclusion(self) -> Branch:
        """The trace up to where it was stopped with the probe's answer, or whole where it came to its own end.

        One that was cut short before it gave an answer gives that of the last probe that had one.
        """
        stop = self.stop or self._fallback()
        return self.main if stop is None else joined(self.main, stop.at, stop.prefix, stop.branch)

    def _fallback(self) -> Probe | None:
        if self.main.reason in ("eos", "stop") or value_in(self.question, self.main) is not None:
            return None
        return next((probe for probe in reversed(self.probes) if probe.value is not None), None)

    def _ask(self) -> list[Request]:
        requests = []
        for at in self._ends.read(self.main.texts):
            text = "".join(self.main.texts[:at])
            if not has_closed(self.question, self.main.request, text):
                requests.append(self._probe(at, text))
        self._waiting.update((request, Branch(request)) for request in requests)
        return requests

    def _probe(self, at: int, text: str) -> Request:
        main, settings = self.main.request, self._settings
        end = ("\n",) if settings.probe_end == "line" else ()
        params = replace(main.params, temperature=0.0, max_tokens=settings.probe_tokens, stop=(*main.params.stop, *end))
        prefix = closing_cue(self.question, main, text, settings.cue)
        return Request(main.prompt, params, prefix=prefix, parent=main, at=at, sampler=main.sampler)

    def _read(self, branch: Branch) -> Probe:
        text = self._settings.cue + branch.text
        value = value_of(self.question, text) if _is_whole(branch, text) else None
        answer = None if value is None else self._class_of(value)
        return Probe(branch.request.at, branch.request.prefix, branch, text, value, answer)

    def _class_of(self, value: str) -> Hashable:
        same = self.question.equivalent
        if same is None:
            return normalize(value)
        equal = (p.answer for p in self.probes if p.value is not None and same(p.value, value))
        return next(equal, value)


def _is_whole(branch: Branch, text: str) -> bool:
    """Whether a probe has said all of something: no half a number for a budget's end, and no box left open."""
    return bool(branch.text.strip()) and branch.reason != "budget" and text.count("{") <= text.count("}")

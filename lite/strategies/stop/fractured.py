"""Fractured sampling: many solutions from each thought, cut at several depths (arXiv:2505.12992).

n thoughts are drawn; each is cut at H evenly spaced depths, and from each cut, with the thought closed, m solutions
are sampled, which share the thought's KV. All n * H * m answers vote. H = 1 is sampling after whole thoughts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from lite.params import SamplingParams
from lite.sampler import Ability, Command, Flow, Question, Request
from lite.strategies.branches import Branch, requests_of
from lite.strategies.fields import check_samples, setting
from lite.strategies.select.majority import majority
from lite.strategies.stop.cuts import joined
from lite.strategies.stop.short_m import thought_end
from lite.strategies.stop.thought import closing_cue, has_closed
from lite.strategies.verdict import read, voted

__all__ = ["Fractured", "depths_of"]


def depths_of(length: int, depths: int) -> list[int]:
    """The ends of `depths` equal parts of a thought of that many tokens, the last being its end; none twice."""
    return sorted({max(1, round(length * part / depths)) for part in range(1, depths + 1)}) if length else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Fractured:
    """A majority vote of solutions written from partial thoughts.

    The thought is what stands before the closing tag, of a model without tags the whole completion. The samples'
    own completions go on to their end and are the first solution of the last depth.
    """

    paper: ClassVar[str] = "arXiv:2505.12992"
    cost: ClassVar[str] = "N samples, and short solutions from parts of each thought"
    samples: int = setting(4, "the paper's n: thoughts to draw; it takes 16")
    depths: int = setting(4, "the paper's H: where each thought is cut; it takes 16")
    solutions: int = setting(1, "the paper's m: to sample from each cut; it takes 4")
    params: SamplingParams = field(default_factory=SamplingParams)
    sampler: str = setting("local", "which sampler draws")
    cue: str = setting("The answer is", "what a solution begins with once the thought is closed")
    solution_tokens: int = setting(64, "the most tokens of a solution after the cue")

    def __post_init__(self) -> None:
        check_samples(self.samples)
        for name in ("depths", "solutions", "solution_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return {self.sampler: frozenset({"prefix", "fork", "logprobs"})}

    @property
    def at_once(self) -> int:
        """Branches that want to be live together."""
        return self.samples * max(1, (self.depths - 1) * self.solutions)

    def __call__(self, question: Question) -> Flow:
        requests = requests_of(question, samples=self.samples, params=self.params, sampler=self.sampler)
        thoughts = {request: Branch(request) for request in requests}
        cuts: dict[Request, list[Branch]] = {}
        owners: dict[Request, Branch] = dict(thoughts)
        commands: Sequence[Command] = requests
        while commands or any(branch.finished is None for branch in owners.values()):
            events = yield commands
            for event in events:
                owners[event.request].add(event)
            forks: list[Request] = []
            for request, thought in thoughts.items():
                if request not in cuts and thought.finished:
                    forks += (fresh := self._forks(question, thought))
                    cuts[request] = [Branch(fork) for fork in fresh]
                    owners.update(zip(fresh, cuts[request], strict=True))
            commands = forks
        branches = [b for request, thought in thoughts.items() for b in (*_solutions(thought, cuts[request]), thought)]
        ballot = read(question, branches)
        return voted(ballot, majority(ballot.answers), [branch.mean_logprob for branch in branches])

    def _forks(self, question: Question, thought: Branch) -> list[Request]:
        request = thought.request
        end = thought_end(question, thought)
        length = thought.tokens - (thought.reason == "eos")  # nothing follows the end of the turn
        *inner, last = [0, *depths_of(length if end is None else min(end, length), self.depths)]
        is_whole = thought.reason in ("eos", "stop")
        positions = [(at, self.solutions) for at in inner if at] + [(last, self.solutions - is_whole)] * (last > 0)
        params = replace(request.params, max_tokens=self.solution_tokens)
        forks = []
        for at, count in positions:
            text = "".join(thought.texts[:at])
            closed = has_closed(question, request, text)
            prefix = "\n\n" + self.cue if closed else closing_cue(question, request, text, self.cue)
            forks += [
                Request(request.prompt, params, sample=j, prefix=prefix, parent=request, at=at, sampler=self.sampler)
                for j in range(count)
            ]
        return forks


def _solutions(thought: Branch, forks: Sequence[Branch]) -> list[Branch]:
    return [joined(thought, fork.request.at, fork.request.prefix, fork) for fork in forks if fork.tokens]

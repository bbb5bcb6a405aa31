"""Rounds: a few samples, and twice as many as long as the vote is unsure.

It goes around any strategy that draws several samples and tells a confidence; what an earlier round drew is not drawn
again. Adaptive consistency (arXiv:2305.11860) asks the same of a majority vote, sample by sample; rounds suit an engine
that draws several samples in the time of one. `samples="auto"` is this, with sizes that were measured.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from lite.sampler import Ability, Answer, Cancel, Command, Event, Finished, Flow, Question, Request, Strategy
from lite.strategies.fields import setting
from lite.strategies.parts import with_samples
from lite.strategies.select.self_certainty import SelfCertainty

__all__ = ["Rounds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """The inner strategy with `first` samples, then with twice as many, until it is confident or has `most`.

    Where it tells no confidence one round is all. The answer is what the inner strategy would have said, had it been
    given that many samples from the beginning.
    """

    paper: ClassVar[str] = ""
    cost: ClassVar[str] = "first to most samples, in rounds that double"
    inner: Strategy = field(default_factory=SelfCertainty, metadata={"doc": "the strategy that samples and decides"})
    first: int = setting(4, "samples of the first round")
    most: int = setting(32, "samples at most")
    threshold: float = setting(0.8, "the confidence that is enough")

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.most:
            raise ValueError(f"first must be from 1 to most, which is {self.most}, got {self.first}")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be in [0, 1], got {self.threshold}")

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return self.inner.needs

    @property
    def at_once(self) -> int:
        """Branches that want to be live together."""
        return max(self.first, self.most // 2)

    def __call__(self, question: Question) -> Flow:
        drawn, samples = _Drawn(), self.first
        while True:
            answer = yield from drawn.around(with_samples(self.inner, samples)(question))
            unsure = answer.confidence is not None and answer.confidence < self.threshold
            if not unsure or samples >= self.most:
                return answer
            samples = min(2 * samples, self.most)


class _Drawn:
    """Branches that were drawn to their end: a flow that asks for one again is given it at once."""

    def __init__(self) -> None:
        self._ended: dict[Hashable, list[Event]] = {}  # by what was asked for

    def around(self, flow: Flow) -> Flow:
        sent: dict[Request, Request] = {}  # the flow's requests, and what is or was drawn in their place
        own: dict[Request, Request] = {}  # and back, for those that are drawn now
        events: dict[Request, list[Event]] = {}  # by what is drawn now
        try:
            asked: Sequence[Command] = next(flow)
            while True:
                commands, told = self._sorted(asked, sent, own)
                news = (yield commands) if commands or not told else ()
                for event in news:
                    if event.request in own:
                        events.setdefault(event.request, []).append(event)
                        told.append(replace(event, request=own[event.request]))
                        self._keep(event, events[event.request])
                asked = flow.send(told)
        except StopIteration as stop:
            answer: Answer = stop.value
            renamed = (replace(one, request=sent.get(one.request, one.request)) for one in answer.candidates)
            return replace(answer, candidates=tuple(renamed))
        finally:
            flow.close()

    def _sorted(
        self, asked: Sequence[Command], sent: dict[Request, Request], own: dict[Request, Request]
    ) -> tuple[list[Command], list[Event]]:
        """What is to be commanded, and what the flow can be told at once of branches that are there already."""
        commands: list[Command] = []
        told: list[Event] = []
        for one in asked:
            if isinstance(one, Cancel):
                commands += [replace(one, request=sent[one.request])] if sent[one.request] in own else []
                continue
            request = replace(one, parent=sent[one.parent]) if one.parent else one
            if ended := self._ended.get(_key(request)):
                sent[one] = ended[-1].request
                told += (replace(event, request=one) for event in ended)
            else:
                sent[one], own[request] = request, one
                commands.append(request)
        return commands, told

    def _keep(self, event: Event, events: list[Event]) -> None:
        if isinstance(event, Finished) and event.reason in ("eos", "stop", "length"):
            self._ended[_key(event.request)] = events


def _key(request: Request) -> Hashable:
    """Equal for requests that draw the same tokens."""
    start = request.parent, request.at, request.prefix, request.score
    return request.prompt, request.params, request.sample, request.sampler, start

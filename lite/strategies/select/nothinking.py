"""NoThinking: skip the thought, and spend its tokens on more samples (arXiv:2504.09858).

A prompt mode around any other strategy. A chat is rendered with the model's own template and its thinking switched
off; any other prompt is followed by a forced empty thought in the model's own tags, or by nothing where the model has
none. The inner strategy decides among the samples: the paper takes self-certainty with a Borda vote.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from lite.params import Chat
from lite.sampler import Ability, Answer, Cancel, Command, Event, Flow, Question, Request, Strategy, Traits
from lite.strategies.select.self_certainty import SelfCertainty

__all__ = ["NoThinking"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoThinking:
    """Answers without a thought; the inner strategy samples and decides."""

    paper: ClassVar[str] = "arXiv:2504.09858"
    cost: ClassVar[str] = "the inner strategy's samples, each as short as its answer"
    inner: Strategy = field(default_factory=SelfCertainty, metadata={"doc": "the strategy that samples and decides"})

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        return self.inner.needs

    def __call__(self, question: Question) -> Flow:
        if isinstance(question.prompt, Chat):
            return self.inner(replace(question, prompt=replace(question.prompt, thinking=False)))
        return _with_closed_thought(self.inner(question), question.models)


def _with_closed_thought(flow: Flow, models: Mapping[str, Traits]) -> Flow:
    """The flow, with every new branch made to have thought already. A fork goes on from its parent's prefix."""
    sent: dict[Request, Request] = {}  # the inner flow's requests, and what is drawn in their place
    own: dict[Request, Request] = {}  # and back

    def outward(command: Command) -> Command:
        if isinstance(command, Cancel):
            return replace(command, request=sent[command.request])
        if command.parent is not None:
            request = replace(command, parent=sent[command.parent])
        else:
            request = replace(command, prefix=_closed_thought(models.get(command.sampler)) + command.prefix)
        sent[command], own[request] = request, command
        return request

    def inward(event: Event) -> Event:
        return replace(event, request=own[event.request])

    try:
        commands: Sequence[Command] = next(flow)
        while True:
            events = yield [outward(command) for command in commands]
            commands = flow.send([inward(event) for event in events if event.request in own])
    except StopIteration as stop:
        return _renamed(stop.value, sent)
    finally:
        flow.close()


def _closed_thought(traits: Traits | None) -> str:
    return f"{traits.think_open}\n\n{traits.think_close}\n\n" if traits and traits.think_close else ""


def _renamed(answer: Answer, sent: Mapping[Request, Request]) -> Answer:
    """The answer with its candidates under the requests that were drawn."""
    renamed = (replace(candidate, request=sent[candidate.request]) for candidate in answer.candidates)
    return replace(answer, candidates=tuple(renamed))

"""What routing strategies share: a strategy's answer together with the branches it was made of, and which of two
answers stands."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from lite.answers import group
from lite.sampler import Ability, Answer, Command, Event, Flow, Question, Request, Strategy
from lite.strategies.branches import Branch

__all__ = ["Watched", "extended", "joined", "stands", "supporters", "watched"]

Watched: TypeAlias = Generator[Sequence[Command], Sequence[Event], tuple[Answer, tuple[Branch, ...]]]


def watched(flow: Flow) -> Watched:
    """Run a flow to its answer. Returns it with all branches that the flow asked for, in that order."""
    branches: dict[Request, Branch] = {}
    try:
        commands = next(flow)
        while True:
            branches.update((one, Branch(one)) for one in commands if isinstance(one, Request))
            events = yield commands
            own = [event for event in events if event.request in branches]
            for event in own:
                branches[event.request].add(event)
            commands = flow.send(own)
    except StopIteration as stop:
        return stop.value, tuple(branches.values())
    finally:
        flow.close()


def supporters(question: Question, answer: Answer, branches: Sequence[Branch]) -> list[Branch]:
    """The branches that reached the answer's value; where it has none, those of all candidates."""
    values = [answer.value, *(candidate.value for candidate in answer.candidates)]
    classes = group(values, question.equivalent)
    chosen = {
        candidate.request
        for candidate, same in zip(answer.candidates, classes[1:], strict=True)
        if answer.value is None or same == classes[0]
    }
    return [branch for branch in branches if branch.request in chosen]


def stands(question: Question, answer: Answer) -> bool:
    """Whether a sample that was drawn to its end says so; a call that failed, or was never sent, says nothing."""
    if not answer.candidates:
        return bool(answer.text)
    values = [answer.value, *(candidate.value for candidate in answer.candidates)]
    classes = group(values, question.equivalent)
    return any(
        candidate.reason in ("eos", "stop", "length") and (answer.value is None or same == classes[0])
        for candidate, same in zip(answer.candidates, classes[1:], strict=True)
    )


def joined(question: Question, small: Answer, large: Answer) -> Answer:
    """The large model's answer if it stands, else the small one's: with the candidates of both, so that it shows."""
    worse = large.value is None and small.value is not None
    chosen = large if stands(question, large) and not worse else small
    return replace(chosen, candidates=small.candidates + large.candidates)


def extended(strategy: Strategy, abilities: frozenset[Ability]) -> Mapping[str, frozenset[Ability]]:
    """The strategy's needs, with more of each of its samplers."""
    return {name: needed | abilities for name, needed in strategy.needs.items()}

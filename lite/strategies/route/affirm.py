"""P(yes): how likely a model finds "Yes" rather than "No" as the next word (arXiv:2207.05221).

Both words are scored as forced text, so nothing is sampled and no token id has to be known.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from lite.params import Prompt, SamplingParams
from lite.sampler import Ability, Chunk, Command, Event, Request
from lite.strategies.branches import Branch, draw

__all__ = ["AFFIRM_NEEDS", "affirmed", "affirmed_after"]

AFFIRM_NEEDS: frozenset[Ability] = frozenset({"prefix", "score"})

_ONE = SamplingParams(max_tokens=1, temperature=0.0)


@dataclass(slots=True)
class _Scored:
    """A forced text as the model scored it: one value a token."""

    texts: list[str] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    def add(self, chunk: Chunk) -> None:
        count = max(0, -chunk.start)
        self.texts.extend(chunk.texts[:count])
        self.logprobs.extend(chunk.logprobs[:count])

    def since(self, length: int) -> float | None:
        """The log-probability of what comes after so many characters, in nats; None where it was not scored."""
        if len(self.logprobs) != len(self.texts) or not self.texts:
            return None
        end, total = 0, 0.0
        for text, logprob in zip(self.texts, self.logprobs, strict=True):
            end += len(text)
            total += logprob if end > length else 0.0
        return total


def affirmed(prompt: Prompt, sampler: str) -> Generator[Sequence[Command], Sequence[Event], float | None]:
    """P(yes) as the first word of the reply to a prompt; None where the sampler did not come to it."""
    yes, no = (Request(prompt, _ONE, prefix=word, sampler=sampler, score=True) for word in ("Yes", "No"))
    return (yield from _compared(yes, no, 0))


def affirmed_after(branch: Branch, question: str) -> Generator[Sequence[Command], Sequence[Event], float | None]:
    """P(yes) after a branch, its end of turn left out, and a question that is put in its mouth."""
    request = branch.request
    at = branch.tokens - (branch.reason == "eos" and bool(branch.texts) and not branch.texts[-1])
    yes, no = (
        Request(
            request.prompt,
            _ONE,
            prefix=f"{question} {word}",
            parent=request,
            at=at,
            sampler=request.sampler,
            score=True,
        )
        for word in ("Yes", "No")
    )
    return (yield from _compared(yes, no, len(question)))


def _compared(yes: Request, no: Request, length: int) -> Generator[Sequence[Command], Sequence[Event], float | None]:
    scored = {yes: _Scored(), no: _Scored()}
    drawing = draw((yes, no))
    try:
        commands = next(drawing)
        while True:
            events = yield commands
            for event in events:
                if isinstance(event, Chunk) and event.request in scored:
                    scored[event.request].add(event)
            commands = drawing.send(events)
    except StopIteration:
        pass
    for_yes, for_no = (scored[request].since(length) for request in (yes, no))
    if for_yes is None or for_no is None:
        return None
    return 1 / (1 + math.exp(min(700.0, for_no - for_yes)))

"""End-of-thinking temperature: make a model end its thought more, or less, readily (arXiv:2505.07961, section 3).

Where the end of the thought competes with other tokens its logit is moved, and the length of the thought is steered
softly instead of cut. The paper rescales the logit. Sampling parameters can add to it, which multiplies the odds of
ending by exp(bias) at every token; the bias is lifted once the thought has ended.

It takes a model whose closing tag is one token; which one it is, is learnt by having the tag scored.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from lite.errors import Unsupported
from lite.params import Chat, SamplingParams
from lite.sampler import Ability, Chunk, Command, Event, Finished, Flow, Question, Request, Strategy
from lite.strategies.branches import Branch
from lite.strategies.fields import setting
from lite.strategies.select.sample import Sample
from lite.strategies.stop.redirect import Turn, redirected
from lite.strategies.stop.thought import traits_of

__all__ = ["StopTemperature"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StopTemperature:
    """Changes how readily thoughts end; the inner strategy samples and decides.

    A model without think tags, and a conversation that skips the thought, are left alone. Raises Unsupported for a
    model whose closing tag is more than one token.
    """

    paper: ClassVar[str] = "arXiv:2505.07961"
    cost: ClassVar[str] = "the inner strategy's samples, each with a shorter or longer thought"
    inner: Strategy = field(default_factory=Sample, metadata={"doc": "the strategy that samples and decides"})
    bias: float = setting(1.0, "added to the logit of the thought's end: above 0 shorter thoughts, below 0 longer ones")

    def __post_init__(self) -> None:
        if not math.isfinite(self.bias):
            raise ValueError(f"bias must be finite, got {self.bias}")

    @property
    def needs(self) -> Mapping[str, frozenset[Ability]]:
        turning: frozenset[Ability] = frozenset({"prefix", "fork", "score"})
        return {sampler: abilities | turning for sampler, abilities in self.inner.needs.items()}

    def __call__(self, question: Question) -> Flow:
        skips = isinstance(question.prompt, Chat) and question.prompt.thinking is False
        tags = {name: question.models[name].think_close for name in self.inner.needs if name in question.models}
        ends: dict[str, int] = {}
        for name, tag in tags.items():
            if tag and not skips:
                ends.update((yield from _token_of(question, name, tag)))

        def begin(request: Request) -> tuple[Request, "_Lifted"]:
            end, tag = ends.get(request.sampler), traits_of(question, request).think_close
            if end is None or tag in request.params.stop:
                return request, _Lifted(request.params, None, tag)
            params = request.params
            biased = replace(params, logit_bias=(*params.logit_bias, (end, self.bias)), stop=(*params.stop, tag))
            return replace(request, params=biased), _Lifted(params, end, tag)

        return (yield from redirected(self.inner(question), begin))


class _Lifted:
    """The director of one branch: when the thought has ended it goes on without the bias."""

    def __init__(self, params: SamplingParams, end: int | None, tag: str) -> None:
        self._params = params
        self._end = end
        self._tag = tag

    def turn(self, stretch: Branch) -> Turn | None:
        if stretch.finished is None or stretch.reason != "stop" or stretch.ids[-1] != self._end:
            return None
        self._end = None
        left = self._params.max_tokens - stretch.tokens
        return Turn(stretch.tokens, "", replace(self._params, max_tokens=left), self._tag) if left else None

    def settled(self, stretch: Branch) -> int:
        return stretch.tokens


def _token_of(
    question: Question, sampler: str, tag: str
) -> Generator[Sequence[Command], Sequence[Event], dict[str, int]]:
    """The sampler's token for its tag; nothing where it could not be asked."""
    params = SamplingParams(max_tokens=1, temperature=0.0)
    request = Request(question.prompt, params, prefix=tag, sampler=sampler, score=True)
    ids: list[int] = []
    commands: Sequence[Command] = (request,)
    is_over = False
    while not is_over:
        events = yield commands
        commands = ()
        for event in events:
            if isinstance(event, Chunk) and event.start < 0:
                ids += event.ids[: -event.start]
            is_over = is_over or isinstance(event, Finished)
    if len(ids) > 1:
        raise Unsupported(f"stop-temperature needs a closing tag of one token; {tag!r} has {len(ids)} in this model")
    return {sampler: ids[0]} if ids else {}

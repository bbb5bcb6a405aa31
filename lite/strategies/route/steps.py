"""A thought written step by step, each step by a model of its own: what the step-wise routers share.

Each step is a branch whose prefix is all that was written before; the engine shares the KV of what it has seen, and a
remote server is sent the whole of it again, which its ledger shows as prompt tokens.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace

from lite.params import SamplingParams
from lite.sampler import Answer, Candidate, Command, Event, Question, Request, Traits
from lite.strategies.branches import Branch, draw
from lite.strategies.verdict import answer_text, value_in

__all__ = ["Trace", "check_steps", "one_step"]


@dataclass(slots=True)
class Trace:
    """What is written so far, and by whom."""

    question: Question
    params: SamplingParams  # for the whole trace
    separator: str
    text: str = ""
    tokens: int = 0  # of the steps that stayed
    candidates: list[Candidate] = field(default_factory=list)  # every step that was drawn, kept or not
    last: Branch | None = None  # the step that was written last
    lost: frozenset[str] = frozenset()  # samplers that have failed: they are asked no more

    @property
    def is_over(self) -> bool:
        """Whether the text has come to its end, by itself or by a limit."""
        return self.tokens >= self.params.max_tokens or (self.last is not None and self.last.reason != "stop")

    def thought_is_closed(self, sampler: str) -> bool:
        """Whether the model has closed a thought; never for a model without a thinking mode."""
        close = self.question.models.get(sampler, Traits()).think_close
        return bool(close) and close in self.text

    def request(self, sampler: str, *, to_the_end: bool = False) -> Request:
        """The next step, or all the rest. Its random stream is that of its number among all drawn steps."""
        params = replace(
            self.params,
            max_tokens=max(1, self.params.max_tokens - self.tokens),
            stop=() if to_the_end else (self.separator,),
        )
        return Request(self.question.prompt, params, sample=len(self.candidates), prefix=self.text, sampler=sampler)

    def note(self, branch: Branch, score: float | None) -> None:
        """Remember a step that was drawn."""
        candidate = Candidate(
            request=branch.request,
            text=branch.text,
            value=None,
            score=score,
            votes=0.0,
            tokens=branch.tokens,
            reason=branch.reason,
        )
        self.candidates.append(candidate)
        if branch.reason in ("failed", "withheld"):
            self.lost |= {branch.request.sampler}

    def write(self, branch: Branch) -> None:
        """Add a step to the text."""
        self.text += branch.text + (self.separator if branch.reason == "stop" else "")
        self.tokens += branch.tokens
        self.last = branch

    def answer(self) -> Answer:
        """The whole text's answer. The candidates are the steps in the order in which they were drawn."""
        if self.last is None:
            return Answer(text="", value=None, confidence=None, candidates=tuple(self.candidates))
        whole = Branch(self.last.request, texts=[self.text], finished=self.last.finished)
        return Answer(
            text=answer_text(self.question, whole),
            value=value_in(self.question, whole),
            confidence=None,
            candidates=tuple(self.candidates),
        )


def one_step(
    trace: Trace, sampler: str, *, to_the_end: bool = False
) -> Generator[Sequence[Command], Sequence[Event], bool]:
    """Have the sampler write on; False, and nothing is written, where it has failed."""
    if sampler in trace.lost:
        return False
    (branch,) = yield from draw((trace.request(sampler, to_the_end=to_the_end),))
    trace.note(branch, branch.mean_logprob)
    if sampler in trace.lost:
        return False
    trace.write(branch)
    return True


def check_steps(params: SamplingParams, separator: str, max_steps: int) -> None:
    """Raises ValueError for what the step-wise strategies cannot do."""
    if params.stop:
        raise ValueError(f"stop must be empty, as the steps have a stop string of their own, got {params.stop!r}")
    if not separator:
        raise ValueError("separator must not be empty: it ends a step")
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}")

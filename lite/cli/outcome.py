"""What `lite run` says about a result, beside the answer."""

from lite.answers import equivalent
from lite.cli.table import clip, table
from lite.cli.thought import split_thought
from lite.results import Result
from lite.sampler import Candidate, Traits

__all__ = ["samples_table", "summary", "winners_thought"]

_ANSWER_WIDTH = 32


def summary(result: Result) -> str:
    """What it cost, in one line."""
    cost = result.cost
    sampled = cost.drawn_tokens + cost.discarded_tokens
    branches = "1 sample" if cost.branches == 1 else f"{cost.branches} samples"
    parts = [result.strategy, branches, f"{sampled} tokens", f"{cost.seconds:.1f} s"]
    if cost.seconds > 0:
        parts.append(f"{sampled / cost.seconds:.0f} tok/s")
    if cost.remote_calls:
        calls = "1 remote call" if cost.remote_calls == 1 else f"{cost.remote_calls} remote calls"
        parts.append(calls + (f" for {cost.money:.4g}" if cost.money else ""))
    if result.confidence is not None:
        parts.append(f"confidence {result.confidence:.0%}")
    return f"{', '.join(parts)} ({result.model}, {result.engine} {result.format})"


def samples_table(result: Result) -> str:
    """One line a candidate, in order of sample; * marks those that agree with the winner."""
    several = any(candidate.request.sampler != "local" for candidate in result.candidates)
    rows = [
        (
            "*" if _agrees(candidate, result) else "",
            str(candidate.request.sample),
            clip("-" if candidate.value is None else candidate.value, _ANSWER_WIDTH),
            "-" if candidate.score is None else f"{candidate.score:.4f}",
            str(candidate.tokens),
            f"{candidate.votes:.4g}",
            candidate.reason,
            *([candidate.request.sampler] if several else []),
        )
        for candidate in result.candidates
    ]
    score = "certainty" if result.strategy == "self-certainty" else "score"
    head = ("", "sample", "answer", score, "tokens", "votes", "end", *(["drawn by"] if several else []))
    return table(head, rows, right=frozenset((1, 3, 4, 5)))


def winners_thought(result: Result, traits: Traits) -> str:
    """The thought of the sample whose words the answer has; "" where it had none."""
    split = (split_thought(candidate.text, traits) for candidate in result.candidates)
    return next((thought for thought, answer in split if answer == result.text), "")


def _agrees(candidate: Candidate, result: Result) -> bool:
    return candidate.value is not None and result.value is not None and equivalent(candidate.value, result.value)

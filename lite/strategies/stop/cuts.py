"""Branches that were stopped, and branches made of two: what the rest of a strategy sees of them."""

from collections.abc import Collection, Sequence

from lite.answers import group
from lite.sampler import Question
from lite.strategies.branches import Branch
from lite.strategies.verdict import Ballot, value_in

__all__ = ["cut", "joined", "read_some"]


def cut(branch: Branch, at: int) -> Branch:
    """The first `at` tokens of a branch that was stopped there, whatever was drawn or told of it after."""
    return Branch(
        branch.request,
        branch.ids[:at],
        branch.texts[:at],
        branch.logprobs[:at],
        branch.entropy[:at],
        branch.certainty[:at],
        branch.top[:at],
    )


def joined(branch: Branch, at: int, prefix: str, tail: Branch) -> Branch:
    """The first `at` tokens, the forced text `prefix`, and a fork's tokens, as one branch that ended as the fork did.

    The forced text has no tokens and no statistics here: it stands before the text of the token that follows it.
    """
    whole = cut(branch, at)
    texts = [prefix + (tail.texts[0] if tail.texts else ""), *tail.texts[1:]]
    if tail.texts or not whole.texts:
        whole.texts += texts
    else:
        whole.texts[-1] += prefix
    whole.ids += tail.ids
    whole.logprobs += tail.logprobs
    whole.entropy += tail.entropy
    whole.certainty += tail.certainty
    whole.top += tail.top
    whole.finished = tail.finished
    return whole


def read_some(question: Question, branches: Sequence[Branch], voting: Collection[int]) -> Ballot:
    """A ballot of which only these branches have a value; the others were stopped before they gave one."""
    values = [value_in(question, branch) if i in voting else None for i, branch in enumerate(branches)]
    return Ballot(question, branches, values, group(values, question.equivalent))

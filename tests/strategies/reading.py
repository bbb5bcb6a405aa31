"""Branches as a flow leaves them, made by hand, and the golden vectors."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lite.ledger import Ledger
from lite.params import Prompt, SamplingParams
from lite.sampler import Chunk, Finished, Flow, Reason, Request
from lite.strategies.branches import Branch

GOLDEN = Path(__file__).parent.parent / "golden"


def golden(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def branch(
    text: str, *, prompt: Prompt = "?", sample: int = 0, reason: Reason = "eos", sampler: str = "local"
) -> Branch:
    """One token a character."""
    request = Request(prompt, SamplingParams(), sample=sample, sampler=sampler)
    drawn = Branch(request)
    drawn.add(Chunk(request, 0, tuple(range(1, len(text) + 1)), tuple(text)))
    drawn.add(Finished(request, reason, Ledger(drawn_tokens=len(text))))
    return drawn


def requests(flow: Flow) -> Sequence[Request]:
    """What a fresh flow asks for first."""
    return [command for command in next(flow) if isinstance(command, Request)]

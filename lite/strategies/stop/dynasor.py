"""Dynasor: probe a thought every so many tokens, and stop when the probes agree with confidence (arXiv:2412.20993).

A trace ends when its last `agreeing` probes have an answer, the same one, and none of them sounds uncertain. This is
the rule of the authors' loop. The function `should_early_exit` in their code also lets disagreeing answers pass, and
its search for uncertain words finds "no" in "know": neither is repeated here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lite.strategies.fields import setting
from lite.strategies.stop.answer_convergence import agreement
from lite.strategies.stop.probes import STEP_DOC, Probe, Probing

__all__ = ["Dynasor", "is_certain"]

_UNCERTAIN = re.compile(r"\b(?:wait|hold|but|okay|no|hmm)\b", re.IGNORECASE)


def is_certain(text: str) -> bool:
    """Whether a probe's text has none of the authors' words of doubt."""
    return not _UNCERTAIN.search(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dynasor(Probing):
    """Stops a thought when its last probes are confident and agree.

    The authors' efforts (agreeing, every): mild (8, 64), low (5, 64), mid (3, 64), high (2, 64), crazy (2, 32).
    """

    paper: ClassVar[str] = "arXiv:2412.20993"
    cost: ClassVar[str] = "1 trace or more, cut short, and a probe of each every step"
    step: str = setting("token", STEP_DOC)
    every: int = setting(64, "probe after every so many steps")
    cue: str = setting(
        "Oh, I suddenly got the answer to the whole problem, **Final Answer**\n\n\\[ \\boxed{",
        "what a probe is made to say once its thought is closed",
    )
    probe_tokens: int = setting(20, "the most tokens of a probe")
    agreeing: int = setting(3, "so many probes in a row must agree, with confidence")

    def __post_init__(self) -> None:
        Probing.__post_init__(self)
        if self.agreeing < 1:
            raise ValueError(f"agreeing must be at least 1, got {self.agreeing}")

    def settled(self, probes: Sequence[Probe]) -> bool:
        recent = probes[-self.agreeing :]
        return agreement(probes) >= self.agreeing and all(is_certain(probe.branch.text) for probe in recent)

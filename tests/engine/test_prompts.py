"""Saved prompts: what a backend cannot take back is computed again."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lite.backends.base import Savable, Statistics
from lite.backends.table import TableBackend, hashed_logits
from lite.engine import Engine
from lite.engine.prompt_files import PromptFiles
from lite.engine.prompts import SavedPrompts
from lite.errors import BackendError
from lite.params import SamplingParams
from lite.sampler import Finished, Request
from tests.engine.reference import CODEC

PROMPT = "abcabcabcabc"
FRESH, FORKED = SamplingParams(max_tokens=4), SamplingParams(max_tokens=2)


class Saving(TableBackend):
    """A table that can be saved: a slot's tokens are all there is to it. A refusing one takes nothing back."""

    state_kind = "table"

    def __init__(self, *, refuses: bool = False) -> None:
        super().__init__(
            hashed_logits(CODEC.vocab_size, scale=1.0), vocab_size=CODEC.vocab_size, num_slots=2, context_length=64
        )
        self.refuses = refuses
        self.written: dict[int, list[int]] = {}
        self.num_computed = 0

    def extend(
        self, slot: int, start: int, ids: Sequence[int], targets: Sequence[int] | None = None, top: int = 0
    ) -> Statistics | None:
        self.written[slot] = [*self.written.get(slot, [])[:start], *ids]
        self.num_computed += len(ids)
        return super().extend(slot, start, ids, targets, top)

    def save(self, slot: int) -> NDArray[np.uint8]:
        return np.array(self.written[slot], np.int64).view(np.uint8)

    def restore(self, slot: int, length: int, state: NDArray[np.uint8]) -> None:
        if self.refuses:
            raise BackendError("no")
        ids = state.view(np.int64).tolist()
        assert len(ids) == length
        super().extend(slot, 0, ids)
        self.written[slot] = ids


def finished(backend: Saving, folder: Path, requests: Sequence[Request]) -> list[Finished]:
    assert isinstance(backend, Savable)
    engine = Engine(backend, CODEC, SavedPrompts(backend, PromptFiles(folder, "k", max_bytes=10**6, min_tokens=6)))
    ends = []
    for request in requests:
        engine.start([request])
        while not (found := [event for event in engine.step(wait=True) if isinstance(event, Finished)]):
            pass
        ends += found
    engine.close()
    return ends


def test_a_kept_prompt_is_not_computed_again(tmp_path: Path) -> None:
    first, again = Saving(), Saving()
    (cost,) = [end.cost for end in finished(first, tmp_path, [Request(PROMPT, FRESH)])]
    assert (cost.prompt_tokens, cost.cached_tokens) == (first.num_computed + 1, 0)
    (cost,) = [end.cost for end in finished(again, tmp_path, [Request(PROMPT, FRESH)])]
    assert (cost.prompt_tokens, cost.cached_tokens, again.num_computed) == (1, first.num_computed, 0)


def test_a_backend_that_takes_nothing_back_computes(tmp_path: Path) -> None:
    first, refusing = Saving(), Saving(refuses=True)
    finished(first, tmp_path, [Request(PROMPT, FRESH)])
    (cost,) = [end.cost for end in finished(refusing, tmp_path, [Request(PROMPT, FRESH)])]
    assert (cost.cached_tokens, refusing.num_computed) == (0, first.num_computed)


def test_only_what_was_asked_is_kept_and_nothing_that_was_drawn(tmp_path: Path) -> None:
    parent = Request(PROMPT, FRESH)
    fork = Request(PROMPT, FORKED, parent=parent, at=2, prefix="abcabcabc")
    finished(Saving(), tmp_path, [parent, fork])
    assert len(list(tmp_path.iterdir())) == 1

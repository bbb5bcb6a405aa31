"""What the model has computed for each slot, and the programs that add to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import numpy as np
from numpy.typing import NDArray

from lite.backends.base import Row
from lite.backends.jax.attention_kernels import KernelName
from lite.backends.jax.batches import PlacedRow, batch_of, spread
from lite.backends.jax.buckets import Buckets
from lite.backends.jax.cache import Cache, read_row, write_row
from lite.backends.jax.draw import Scores, adjustments_of, kinds_of
from lite.backends.jax.mesh import Placement
from lite.backends.jax.model import Weights
from lite.backends.jax.programs import Drawn, Stretch, draw_many, write_tokens
from lite.backends.jax.slots import Slot, SlotTable
from lite.backends.jax.store import Store
from lite.errors import BackendError, Interrupted
from lite.models import ModelConfig

__all__ = ["Contexts", "Model"]

_SHORT = 16  # tokens; so short a continuation of a prompt is the slot's own, and forks copy it
_SCORED_AT_ONCE = 128  # positions whose logits are held at once: 78 MB of a vocabulary of 152k


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What the programs need, and how caches are made: from numbers of rows and of positions."""

    config: ModelConfig
    weights: Weights
    buckets: Buckets
    empty_prompts: Callable[[int, int], Cache]
    empty_rows: Callable[[int, int], Cache]
    barred: jax.Array  # bool (vocab,): never drawn
    placement: Placement
    tokens_per_step: int
    kernel: KernelName


class Contexts:
    """Prompts' keys and values, each kept once, and each slot's own. After an error nothing of it can be used."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._prompts = Store(model.empty_prompts, model.buckets)
        self._rows = Store(model.empty_rows, model.buckets)
        self._prompt_lengths: dict[int, int] = {}
        self._slots = SlotTable(self._free_prompt, self._rows.free)

    def truncate(self, number: int, length: int) -> Slot:
        """Forget what the slot holds from position `length` on. Raises BackendError where it holds less."""
        self._require(number, length)
        return self._slots.truncate(number, length)

    def fork(self, source: int, target: int, length: int) -> None:
        """Make the first positions of `target` those of `source`."""
        if source == target:
            self.truncate(target, length)
            return
        self._require(source, length)
        slot = self._slots.share(source, target, length)
        if length > slot.base:
            self._rows.copy(source, target, length - slot.base)
            slot.length = length

    def write(
        self, number: int, ids: Sequence[int], targets: Sequence[int] | None, top: int, stop: Callable[[], bool]
    ) -> list[Scores]:
        """Append to a slot; with `targets` returns their scores in parts, without filling.

        Between two parts `stop` is asked; Interrupted, the slot holds what was written before.
        """
        longest = self._model.buckets.longest_write if targets is None else _SCORED_AT_ONCE
        in_prompt = self._continues_prompt(number, len(ids))
        found = []
        for start in range(0, len(ids), longest):
            if start and stop():
                raise Interrupted
            part = slice(start, start + longest)
            wanted = None if targets is None else targets[part]
            found.append(self._write(self._slots[number], number, in_prompt, ids[part], wanted, top))
        return [scores for scores in found if scores is not None]

    def draw(self, rows: Sequence[Row], ends: jax.Array, top: int) -> Drawn:
        """Draw for the rows' slots; the arrays are the host's."""
        model, slots = self._model, [self.truncate(row.slot, row.position) for row in rows]
        prompts, prompt_rows = self._shared(slots)
        room = max(
            row.position - slot.base + min(model.tokens_per_step, row.max_new)
            for row, slot in zip(rows, slots, strict=True)
        )
        block, places = self._rows.gather([row.slot for row in rows], room)
        num_rows = block.cache.num_rows
        placed = [
            PlacedRow(row, place, prompt_row, slot.base)
            for row, slot, place, prompt_row in zip(rows, slots, places, prompt_rows, strict=True)
        ]
        block.cache, drawn = draw_many(
            model.weights,
            block.cache,
            prompts,
            batch_of(placed, num_rows, prompts.num_rows, model.buckets.groups),
            adjustments_of(spread(placed, num_rows), model.config.vocab_size),
            model.barred,
            ends,
            config=model.config,
            kinds=kinds_of(rows),
            top=top,
            num_tokens=model.tokens_per_step,
            kernel=model.kernel,
        )
        found: Drawn = jax.tree.map(lambda array: array[places], model.placement.gathered(drawn))
        return found

    def note_fed(self, number: int, count: int) -> None:
        """The slot holds so many positions more, which a draw has written."""
        self._slots[number].length += count

    def _require(self, number: int, length: int) -> None:
        held = self._slots[number].length
        if held < length:
            raise BackendError(f"slot {number} holds {held} positions of {length}: an earlier failure took the others")

    def _continues_prompt(self, number: int, count: int) -> bool:
        """Whether the next `count` tokens of a slot become a prompt's; then the slot has a prompt for itself."""
        slot = self._slots[number]
        if slot.own_length or (slot.base and count < _SHORT):
            return False
        self._own_prompt(number, slot, slot.base + count)
        return True

    def _own_prompt(self, number: int, slot: Slot, length: int) -> None:
        """Have a prompt that no other slot goes on from, with room for `length` positions."""
        old = slot.prompt
        if old is None or self._slots.num_users(old) > 1:
            new = self._slots.new_prompt(number)
            if old is not None:
                self._prompts.copy(old, new, slot.base)
        else:
            new = old
        self._prompts.place(new, length)
        self._prompt_lengths[new] = length

    def _write(
        self, slot: Slot, number: int, in_prompt: bool, ids: Sequence[int], targets: Sequence[int] | None, top: int
    ) -> Scores | None:
        """Append at most as many tokens as are written at once."""
        size = self._model.buckets.writes.fit(len(ids))
        new, scores = write_tokens(
            self._model.weights,
            self._context(slot, number),
            _scalar(slot.length),
            _filled(ids, size),
            None if targets is None else _filled(targets, size),
            config=self._model.config,
            top=top,
        )
        store, key = (self._prompts, slot.prompt) if in_prompt else (self._rows, number)
        assert key is not None
        start = slot.length if in_prompt else slot.own_length
        block, row = store.place(key, start + len(ids))
        block.cache = write_row(block.cache, _scalar(row), _scalar(start), _scalar(len(ids)), new)
        slot.length += len(ids)
        slot.base = slot.length if in_prompt else slot.base
        told: Scores | None = self._model.placement.gathered(scores)
        return None if told is None else jax.tree.map(lambda array: array[: len(ids)], told)

    def _context(self, slot: Slot, number: int) -> tuple[Stretch, ...]:
        """What the slot holds."""
        held = []
        if slot.prompt is not None and slot.base:
            held.append((*self._prompts.place(slot.prompt, 0), 0, slot.base))
        if slot.own_length:
            held.append((*self._rows.place(number, 0), slot.base, slot.own_length))
        return tuple(
            Stretch(read_row(block.cache, _scalar(row)), _scalar(first), _scalar(count))
            for block, row, first, count in held
        )

    def _shared(self, slots: Sequence[Slot]) -> tuple[Cache, list[int]]:
        """One cache with the prompts of all slots, and each one's row in it; any row for a slot without a prompt."""
        prompts = list(dict.fromkeys(slot.prompt for slot in slots if slot.prompt is not None))
        length = max((self._prompt_lengths[prompt] for prompt in prompts), default=0)
        block, rows = self._prompts.gather(prompts, length)
        row_of: dict[int | None, int] = dict(zip(prompts, rows, strict=True))
        return block.cache, [row_of.get(slot.prompt, 0) for slot in slots]

    def _free_prompt(self, prompt: int) -> None:
        del self._prompt_lengths[prompt]
        self._prompts.free(prompt)


def _scalar(number: int) -> NDArray[np.int32]:
    return np.array(number, np.int32)


def _filled(ids: Sequence[int], size: int) -> NDArray[np.int32]:
    filled = np.zeros(size, np.int32)
    filled[: len(ids)] = ids
    return filled

"""What each slot holds: a stretch of a prompt that it shares with others, and a stretch of its own."""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Slot", "SlotTable"]


@dataclass(slots=True)
class Slot:
    """Positions 0..base-1 lie in a prompt's row, base..length-1 in a row of the slot's own."""

    prompt: int | None = None
    base: int = 0
    length: int = 0

    @property
    def own_length(self) -> int:
        return self.length - self.base


class SlotTable:
    """Slots by number, and how many of them go on from each prompt.

    `free_prompt` and `free_row` are told of a prompt that nobody needs any more, and of a slot without a stretch of
    its own.
    """

    def __init__(self, free_prompt: Callable[[int], None], free_row: Callable[[int], None]) -> None:
        self._free_prompt = free_prompt
        self._free_row = free_row
        self._slots: dict[int, Slot] = {}
        self._users: dict[int, int] = {}  # by prompt
        self._next_prompt = 0

    def __getitem__(self, number: int) -> Slot:
        return self._slots.setdefault(number, Slot())

    def num_users(self, prompt: int) -> int:
        """How many slots go on from a prompt."""
        return self._users[prompt]

    def truncate(self, number: int, length: int) -> Slot:
        """Forget what the slot holds from position `length` on."""
        slot = self[number]
        slot.length = min(slot.length, length)
        if slot.length <= slot.base:
            self._free_row(number)
            slot.base = slot.length
            if slot.base == 0:
                self._leave(slot)
        return slot

    def new_prompt(self, number: int) -> int:
        """Have the slot go on from a new prompt, in place of the one that it has; what is in it is the caller's."""
        slot, prompt = self[number], self._next_prompt
        self._leave(slot)
        slot.prompt = prompt
        self._users[prompt] = 1
        self._next_prompt += 1
        return prompt

    def share(self, source: int, target: int, length: int) -> Slot:
        """Make the target an empty continuation of the source's prompt, of its first `length` positions at most."""
        origin = self[source]
        base = min(origin.base, length)
        prompt = origin.prompt if base else None
        if prompt is not None:
            self._users[prompt] += 1
        self.truncate(target, 0)
        self._slots[target] = Slot(prompt, base, base)
        return self._slots[target]

    def _leave(self, slot: Slot) -> None:
        prompt, slot.prompt = slot.prompt, None
        if prompt is None:
            return
        self._users[prompt] -= 1
        if not self._users[prompt]:
            del self._users[prompt]
            self._free_prompt(prompt)

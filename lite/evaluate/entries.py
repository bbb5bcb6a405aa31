"""What is compared: strategies with their settings, each under a label.

An entry is written NAME or NAME:SETTING=VALUE,...: `self-certainty:power=0.5`, `majority:samples=8`,
`greedy:think=yes`. A setting is one of the strategy's own, or `samples`, `think`, or one of SamplingParams.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import Any, cast

from lite.errors import UsageError
from lite.evaluate.items import Item
from lite.options import Options, make_question, make_strategy
from lite.params import SamplingParams
from lite.sampler import Question, Strategy

__all__ = ["Entry", "make_entries", "make_entry"]

_ALIASES: Mapping[str, tuple[str, Mapping[str, str]]] = {"borda": ("self-certainty", {"p": "power"})}
"""Short names for replays: the strategy, and what its settings are called."""
_TRUTHS = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A strategy as it takes part in an evaluation."""

    label: str  # as it was written
    strategy: Strategy
    think: bool | None = None
    system: str = ""

    @property
    def config(self) -> str:
        """16 hexadecimal digits that name all that decides its answers, but for model, question and budget."""
        facts = (repr(self.strategy), self.think, self.system)
        return blake2b(repr(facts).encode(), digest_size=8).hexdigest()

    def question(self, item: Item) -> Question:
        """The item as this entry asks it."""
        asked = make_question(item.asked, {"think": self.think, "system": self.system})
        return Question(prompt=asked.prompt, choices=item.choices)


def make_entries(specs: Sequence[str], options: Options) -> tuple[Entry, ...]:
    """One entry for each different text. `options` are what an entry does not set itself."""
    return tuple(make_entry(spec, options) for spec in dict.fromkeys(specs))


def make_entry(spec: str, options: Options) -> Entry:
    """Raises UsageError, naming the entry, for an unknown strategy or setting, or a value out of range."""
    name, _, written = spec.partition(":")
    name, names = _ALIASES.get(name.strip(), (name.strip(), {}))
    own = dict(_pair(spec, part, names) for part in written.split(",") if part.strip())
    try:
        merged = cast("dict[str, Any]", {**options, **_taken(own)})
        think, system = merged.pop("think", None), merged.pop("system", "")
        merged.pop("budget", None)
        settings = {**merged.pop("settings", {}), **own}
        strategy = make_strategy(name, cast(Options, {**merged, "settings": settings}))
    except ValueError as error:
        raise UsageError(f"{spec}: {error}") from error
    return Entry(label=spec, strategy=strategy, think=think, system=system)


def _pair(spec: str, part: str, names: Mapping[str, str]) -> tuple[str, str]:
    name, equals, value = (text.strip() for text in part.partition("="))
    if not equals or not name:
        raise UsageError(f"{spec}: {part!r} is not SETTING=VALUE")
    name = name.replace("-", "_")
    return names.get(name, name), value


def _taken(own: dict[str, str]) -> dict[str, object]:
    """The options among the settings, read; they are taken out of `own`."""
    kinds: dict[str, type] = {"samples": int}
    kinds |= {f.name: type(f.default) for f in fields(SamplingParams) if type(f.default) in (int, float)}
    taken: dict[str, object] = {}
    for name in [name for name in own if name in kinds]:
        taken[name] = _number(name, own.pop(name), kinds[name])
    if "think" in own:
        text = own.pop("think").lower()
        if text not in _TRUTHS:
            raise ValueError(f"think must be yes or no, got {text!r}")
        taken["think"] = _TRUTHS[text]
    return taken


def _number(name: str, text: str, kind: type) -> object:
    try:
        value: object = kind(text)
    except ValueError:
        raise ValueError(f"{name} must be {kind.__name__}, got {text!r}") from None
    return value

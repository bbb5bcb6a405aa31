"""A strategy from its name and settings written as text, and what there is to set.

`make("self-certainty", samples=16, settings={"power": "0.5"})`; the settings of a nested strategy carry its field's
name: `{"inner": "majority", "inner.sampler": "remote"}`.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from importlib import import_module
from inspect import cleandoc
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from lite.params import SamplingParams
from lite.sampler import Ability, Strategy
from lite.strategies import STRATEGIES
from lite.strategies.fields import check_samples

__all__ = ["Description", "Setting", "describe", "make"]

_OPTIONS = ("params", "samples")  # given beside the settings
_TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One field of a strategy, as a user sees it."""

    name: str
    kind: str  # "int", "float or auto", "borda|argmax", "strategy"
    default: str
    doc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A strategy, as `lite strategies` lists it."""

    name: str
    family: str  # the folder that it is in: "select", "stop", ...
    summary: str
    text: str  # what it does, in a paragraph
    paper: str  # "" where there is none
    cost: str  # its shape, in words: "N samples"
    settings: tuple[Setting, ...]
    needs: Mapping[str, frozenset[Ability]]


def make(
    name: str,
    *,
    samples: int | None = None,
    params: SamplingParams | None = None,
    settings: Mapping[str, object] | None = None,
) -> Strategy:
    """The strategy of that name; None, and a setting that is not given, mean its own default.

    Values are read from their text. A nested strategy gets the same samples and params; a strategy of one sample
    draws one. Raises ValueError, in one line, for an unknown strategy or setting and for a value that does not fit.
    """
    kind, given = _strategy(name), dict(settings or {})
    if samples is not None:
        check_samples(samples)
    options = {"samples": samples, "params": params}
    values: dict[str, Any] = {
        field.name: options[field.name] for field in _fields(kind) if options.get(field.name) is not None
    }
    for field, hint in _settable(kind):
        if hint is Strategy:
            values[field.name] = _nested(field, given, samples, params)
        elif field.name in given:
            values[field.name] = _converted(name, field.name, given.pop(field.name), hint)
    _refuse_unknown(name, kind, given)
    return kind(**values)


def describe(name: str) -> Description:
    """What a strategy is and what `make` takes as its settings. Raises ValueError for an unknown name."""
    kind = _strategy(name)
    settings = tuple(
        Setting(
            name=field.name,
            kind=_kind(hint),
            default=_written(_default(field)),
            doc=field.metadata.get("doc", ""),
        )
        for field, hint in _settable(kind)
    )
    summary, _, rest = cleandoc(kind.__doc__ or "").partition("\n")
    return Description(
        name=name,
        family=kind.__module__.split(".")[-2],
        summary=summary,
        text=" ".join(f"{_idea(kind)} {rest}".split()),
        paper=getattr(kind, "paper", ""),
        cost=getattr(kind, "cost", ""),
        settings=settings,
        needs=kind().needs,
    )


def _idea(kind: type[Strategy]) -> str:
    """What the head of the strategy's file tells of it."""
    return cleandoc(import_module(kind.__module__).__doc__ or "")


def _strategy(name: str) -> type[Strategy]:
    if name not in STRATEGIES:
        raise ValueError(f"unknown strategy {name!r}{_guess(name, STRATEGIES)} Known: {', '.join(STRATEGIES)}")
    return STRATEGIES[name]


def _fields(kind: Any) -> tuple[Field[Any], ...]:
    return fields(kind)


def _settable(kind: type[Strategy]) -> list[tuple[Field[Any], Any]]:
    """The fields that a setting's text can fill, with their types."""
    hints = get_type_hints(kind)
    return [(field, hints[field.name]) for field in _fields(kind) if field.name not in _OPTIONS]


def _nested(
    field: Field[Any], given: dict[str, object], samples: int | None, params: SamplingParams | None
) -> Strategy:
    """The strategy that a field holds, made of the settings under its name, which are taken out of `given`."""
    inner = given.pop(field.name, None)
    prefix = f"{field.name}."
    dotted = {key.removeprefix(prefix): given.pop(key) for key in list(given) if key.startswith(prefix)}
    if inner is not None and not isinstance(inner, str):
        return _object(field.name, inner, dotted)
    default = cast(Strategy, _default(field))
    name = inner or _name_of(default)
    return make(name, samples=samples, params=params, settings=_kept(default, _strategy(name)) | dotted)


def _kept(default: Strategy, kind: type[Strategy]) -> dict[str, object]:
    """What the outer strategy has set of the strategy that it holds by default; of another one, whom it asks."""
    own = {
        field.name: getattr(default, field.name)
        for field, hint in _settable(type(default))
        if hint is not Strategy and getattr(default, field.name) != _default(field)
    }
    same, names = type(default) is kind, {field.name for field, _ in _settable(kind)}
    return {name: value for name, value in own.items() if same or (name == "sampler" and name in names)}


def _converted(strategy: str, name: str, value: object, hint: Any) -> object:
    try:
        return _convert(str(value), hint)
    except (TypeError, ValueError):  # a TypeError from what only Python can set, such as a callback
        raise ValueError(f"{strategy}: {name} must be {_kind(hint)}, got {value!r}") from None


def _refuse_unknown(name: str, kind: type[Strategy], left: Iterable[str]) -> None:
    settable = _settable(kind)
    known = [field.name for field, _ in settable]
    known += [f"{field.name}.SETTING" for field, hint in settable if hint is Strategy]
    for setting in left:
        hint = "; it is an option of its own." if setting in _OPTIONS else _guess(setting, known)
        raise ValueError(f"{name} has no setting {setting!r}{hint} Known: {', '.join(known)}")


def _object(name: str, value: object, dotted: Mapping[str, object]) -> Strategy:
    """A strategy that was given as it is, which leaves nothing to set."""
    if not callable(value):
        raise ValueError(f"{name} must be a strategy or its name, got {value!r}")
    for setting in dotted:
        raise ValueError(f"{name}.{setting} is part of the strategy object that was given: set it there")
    return cast(Strategy, value)


def _guess(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f". Did you mean {close[0]!r}?" if close else "."


def _convert(text: str, hint: Any) -> object:
    """Raises ValueError where the text is no value of that type."""
    options = _options(hint)
    if len(options) > 1:
        return None if text.lower() in ("auto", "none") else _convert(text, options[0])
    if get_origin(hint) is Literal:
        if text not in get_args(hint):
            raise ValueError
        return text
    if hint is bool:
        if text.lower() not in _TRUTHS:
            raise ValueError
        return _TRUTHS[text.lower()]
    value: object = hint(text)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError
    return value


def _options(hint: Any) -> tuple[Any, ...]:
    """A union's members, None last; anything else alone."""
    if get_origin(hint) in (Union, UnionType):
        return tuple(sorted(get_args(hint), key=lambda member: member is NoneType))
    return (hint,)


def _kind(hint: Any) -> str:
    options = _options(hint)
    if len(options) > 1:
        return f"{_kind(options[0])} or auto"
    if get_origin(hint) is Literal:
        return "|".join(get_args(hint))
    return "strategy" if hint is Strategy else str(hint.__name__)


def _default(field: Field[Any]) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _written(default: object) -> str:
    if default is None:
        return "auto"
    return _name_of(default) if type(default) in STRATEGIES.values() else str(default)


def _name_of(strategy: object) -> str:
    return next(name for name, kind in STRATEGIES.items() if type(strategy) is kind)

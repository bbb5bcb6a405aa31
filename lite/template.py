"""Runs a chat template, which is a program out of a stranger's file, so that it can do no harm.

Jinja's immutable sandbox keeps it from reaching Python. What the sandbox does not limit is limited here: steps
(loop turns and calls, weighed by the size of what they repeat) and the size of every value that the template makes.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError, nodes, pass_context
from jinja2.ext import LoopControlExtension
from jinja2.filters import FILTERS
from jinja2.runtime import LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from lite.errors import InvalidRequest, ModelError

if TYPE_CHECKING:
    from jinja2.runtime import Context

__all__ = ["ChatTemplate"]

_MAX_SOURCE = 1 << 18  # characters; the longest published ones have some 20,000
_MAX_STEPS = 3_000_000
_MAX_DEPTH = 32  # of lists within lists
_FREE_SIZE = 1 << 17  # characters that a value may have beside those of the conversation
_BUDGET = "lite budget"  # no name that a template could spell

_FILTERS = frozenset(
    {"abs", "capitalize", "count", "d", "default", "dictsort", "escape", "first", "float", "int", "items", "last"}
    | {"length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "safe", "select"}
    | {"selectattr", "sort", "string", "title", "trim", "unique", "upper"}
)
_MAPPED = _FILTERS - {"map", "list", "select", "reject", "selectattr", "rejectattr"}
_METHODS: Mapping[type, frozenset[str]] = {
    str: frozenset(
        {"capitalize", "count", "endswith", "find", "index", "isalnum", "isalpha", "isdigit", "islower", "isspace"}
        | {"isupper", "join", "lower", "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind"}
        | {"rindex", "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "title", "upper"}
    ),
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
}


class ChatTemplate:
    """A compiled template. Thread-safe. Raises ModelError when it cannot be compiled."""

    def __init__(self, source: str) -> None:
        self.source = source
        if len(source) > _MAX_SOURCE:
            raise ModelError(f"the chat template has {len(source)} characters, more than the limit of {_MAX_SOURCE}")
        environment = _Environment()
        try:
            tree = _Metering().visit(environment.parse(source))
            environment.num_nodes = _count(tree)
            self._template = environment.from_string(tree)
        except Exception as error:  # noqa: BLE001 - compiling a stranger's program may raise anything
            raise ModelError(f"the chat template cannot be compiled: {_line(error)}") from None

    def render(self, messages: Sequence[Mapping[str, str]], **variables: object) -> str:
        """The prompt's text. Raises InvalidRequest if the template refuses the conversation, ModelError if it fails."""
        size = _FREE_SIZE + 4 * sum(len(text) for message in messages for text in message.values())
        budget = _Budget(_MAX_STEPS, size)
        values = {"messages": [dict(message) for message in messages], **variables, _BUDGET: budget}
        try:
            return budget.joined(self._template.generate(values))
        except (InvalidRequest, ModelError):
            raise
        except Exception as error:  # noqa: BLE001 - running a stranger's program may raise anything
            raise ModelError(f"the chat template failed: {_line(error)}") from None


@dataclass(slots=True)
class _Budget:
    """What one rendering may still do. `size`: characters and items of any one value, and of the whole output."""

    steps: int
    size: int

    def charge(self, steps: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise ModelError(
                f"the chat template does more than {_MAX_STEPS} steps: shorten the question, or use a sane template"
            )

    def fits(self, size: int) -> None:
        if size > self.size:
            raise ModelError(f"the chat template makes a value of {size} characters or items, the limit is {self.size}")
        self.charge(1 + size // 16)

    def bounded(self, value: Any) -> Any:
        if isinstance(value, str | list | tuple | dict):
            self.fits(self._size(value, 0))
        elif isinstance(value, int) and value.bit_length() > 256:
            raise ModelError("the chat template makes a number of more than 256 bits")
        return value

    def joined(self, pieces: Iterable[str]) -> str:
        found: list[str] = []
        total = 0
        for piece in pieces:
            total += len(piece)
            self.charge(1)
            if total > self.size:
                raise ModelError(f"the chat template writes more than {self.size} characters")
            found.append(piece)
        return "".join(found)

    def _size(self, value: object, depth: int) -> int:
        """Characters and items, each as often as it occurs; not much beyond the limit is ever counted."""
        if isinstance(value, str):
            return len(value)
        if not isinstance(value, list | tuple | dict):
            return 1
        if depth == _MAX_DEPTH:
            raise ModelError(f"the chat template nests lists more than {_MAX_DEPTH} deep")
        total = 1
        for item in (*value, *value.values()) if isinstance(value, dict) else value:
            total += 1 + self._size(item, depth + 1)
            if total > self.size:
                break
        return total


class _Namespace(Namespace):
    """Jinja's, without the contents in its text: namespaces in namespaces would print without end."""

    def __repr__(self) -> str:
        return "<namespace>"


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[LoopControlExtension])
        self.num_nodes = 0
        self.filters = {name: FILTERS[name] for name in _FILTERS} | _BOUNDED_FILTERS
        self.globals = {"range": self.globals["range"], "dict": dict, "namespace": _Namespace}
        self.globals |= {"raise_exception": _refuse_conversation, "strftime_now": _strftime_now}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        for kind, allowed in _METHODS.items():
            if isinstance(obj, kind):
                return attr in allowed
        return isinstance(obj, LoopContext | Namespace) and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """The sandbox's own `str.format` would pass by `is_safe_attribute`, and makes texts of any width."""

    def call(self, context: "Context", function: Any, *args: Any, **kwargs: Any) -> Any:
        budget = _budget(context)
        budget.charge(self.num_nodes if isinstance(function, Macro) else 1)
        owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        if isinstance(owner, str) and name in ("join", "replace"):
            return _join(context, args[0], owner) if name == "join" else _replace(context, owner, *args)
        return budget.bounded(super().call(context, function, *args, **kwargs))

    def call_binop(self, context: "Context", operator: str, left: Any, right: Any) -> Any:
        budget = _budget(context)
        if operator == "**" or (operator == "%" and not isinstance(left, int | float)):
            raise ModelError(f"the chat template uses the operator {operator}, which is not allowed")
        if operator == "*":
            for factor, times in ((left, right), (right, left)):
                if isinstance(factor, str | list | tuple) and isinstance(times, int):
                    budget.fits(budget._size(factor, 0) * max(0, times))
        return budget.bounded(super().call_binop(context, operator, left, right))


class _Metering(NodeTransformer):
    """Wraps loops and the making of containers and texts, so that they are charged."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - the visitor's naming
        if node.recursive:
            raise TemplateError("recursive loops are not allowed")
        num_nodes = _count(node)
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "_counted", nodes.Const(num_nodes))
        return node

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, "_bounded") if node.ctx == "load" else node

    def _wrapped(self, node: nodes.Expr) -> nodes.Filter:
        self.generic_visit(node)
        return _filtered(node, "_bounded")

    visit_List = visit_Dict = visit_Concat = visit_Filter = visit_Compare = _wrapped  # noqa: N815


def _filtered(node: nodes.Node, name: str, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(args), [], None, None, lineno=node.lineno)


def _count(node: nodes.Node) -> int:
    return 1 + sum(map(_count, node.iter_child_nodes()))


def _budget(context: "Context") -> _Budget:
    budget = context.parent[_BUDGET]
    assert isinstance(budget, _Budget)
    return budget


def _line(error: Exception) -> str:
    """The error's kind and the beginning of its message, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _refuse_conversation(message: object = "") -> None:
    raise InvalidRequest(f"the model's chat template refuses the conversation: {' '.join(str(message).split())[:200]}")


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern[:100])


# Filters: those that could make much out of little, with their limits


@pass_context
def _bounded(context: "Context", value: Any) -> Any:
    return _budget(context).bounded(value)


@pass_context
def _counted(context: "Context", items: Iterable[Any], num_nodes: int) -> Iterator[Any]:
    budget = _budget(context)
    for item in items:
        budget.charge(num_nodes)
        yield item


@pass_context
def _join(context: "Context", items: Iterable[Any], separator: str = "", attribute: str | None = None) -> str:
    if attribute is not None:
        items = FILTERS["map"](context, items, attribute=attribute)
    texts: list[str] = []
    size = 0
    for item in items:
        texts.append(str(item))
        size += len(texts[-1]) + len(separator)
        _budget(context).fits(size)
    return separator.join(texts)


@pass_context
def _replace(context: "Context", value: Any, old: str, new: str, count: int = -1) -> str:
    text = str(value)
    occurrences = text.count(old)
    _budget(context).fits(len(text) + len(new) * (occurrences if count < 0 else min(occurrences, count)))
    return text.replace(old, new, count)


@pass_context
def _indent(context: "Context", text: Any, width: int = 4, first: bool = False, blank: bool = False) -> str:
    if not isinstance(width, int) or not 0 <= width <= 32:
        raise ModelError("the chat template indents by something that is not a number from 0 to 32")
    lines = str(text).splitlines(keepends=True)
    _budget(context).fits(len(lines) * width + len(str(text)))
    margin = " " * width
    return "".join(margin + line if (i or first) and (blank or line.strip()) else line for i, line in enumerate(lines))


@pass_context
def _tojson(context: "Context", value: Any, indent: int | None = None, ensure_ascii: bool = False, **_: object) -> str:
    """As chat templates mean it: plain JSON, without HTML escapes."""
    budget = _budget(context)
    budget.bounded(value)
    if indent is not None and not 0 <= indent <= 8:
        raise ModelError(f"the chat template indents JSON by {indent}, the limit is 8")
    return json.dumps(value, indent=indent, ensure_ascii=ensure_ascii)


@pass_context
def _map(context: "Context", items: Iterable[Any], *args: Any, **kwargs: Any) -> Iterator[Any]:
    if args and args[0] not in _MAPPED:
        raise ModelError(f"the chat template maps the filter {str(args[0])[:40]!r}, which is not allowed there")
    mapped: Iterator[Any] = FILTERS["map"](context, items, *args, **kwargs)
    return mapped


_BOUNDED_FILTERS: dict[str, Callable[..., Any]] = {
    "_bounded": _bounded,
    "_counted": _counted,
    "indent": _indent,
    "join": _join,
    "map": _map,
    "replace": _replace,
    "tojson": _tojson,
}

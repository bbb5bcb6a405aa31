"""The two ways in which a word problem is answered: a thought that works digit by digit, and one line a step.

A trace is text together with the character spans that a trainer must not teach: slips, and decisions to leave
something out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Operation", "Slip", "Trace", "direct_trace", "thinking_trace"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One arithmetic step `a sign b`, with sign one of `+ - * /` (exact division)."""

    sign: str
    a: int
    b: int

    @property
    def result(self) -> int:
        """The exact value."""
        if self.sign == "+":
            return self.a + self.b
        if self.sign == "-":
            return self.a - self.b
        return self.a * self.b if self.sign == "*" else self.a // self.b

    def __str__(self) -> str:
        return f"{self.a}{self.sign}{self.b}"


@dataclass(frozen=True, slots=True)
class Slip:
    """A wrong result for the step at `index`, off by `offset`, that the check phase notices and mends."""

    index: int
    offset: int


@dataclass(slots=True)
class Trace:
    """Text in the making, and the spans (start, end) of its characters that carry no training loss."""

    text: str = ""
    masked: list[tuple[int, int]] = field(default_factory=list)

    def add(self, text: str, *, masked: bool = False) -> None:
        """Append `text`."""
        if masked:
            self.masked.append((len(self.text), len(self.text) + len(text)))
        self.text += text


def places(number: int) -> list[int]:
    """The non-zero parts of a number by place: 617 is [600, 10, 7]."""
    digits = str(number)
    return [int(digit) * 10 ** (len(digits) - 1 - place) for place, digit in enumerate(digits) if digit != "0"]


def small_steps(operation: Operation) -> list[str]:
    """The lines that decompose an operation by place, the last one ending in its result; one line if it is easy."""
    easy, work = {"+": _sum, "-": _difference, "*": _product, "/": _quotient}[operation.sign](operation)
    return [f"{operation}={operation.result}"] if easy else work


def _sum(operation: Operation) -> tuple[bool, list[str]]:
    big, small = max(operation.a, operation.b), min(operation.a, operation.b)
    easy = big < 100 or len(places(small)) < 2
    return easy, _walk(big, "+", small)


def _difference(operation: Operation) -> tuple[bool, list[str]]:
    easy = operation.a < 100 or len(places(operation.b)) < 2
    return easy, _walk(operation.a, "-", operation.b)


def _walk(value: int, sign: str, other: int) -> list[str]:
    lines = []
    for part in places(other):
        step = Operation(sign, value, part)
        lines.append(f"{step}={step.result}")
        value = step.result
    return lines


def _product(operation: Operation) -> tuple[bool, list[str]]:
    a, b = operation.a, operation.b
    easy = (len(places(a)) < 2 and b < 100) or len(places(b)) < 2
    lines = [f"{a}*{part}={a * part}" for part in places(b)]
    total = 0
    for part in places(b):
        if total and a < 10:
            lines.append(f"{total}+{a * part}={total + a * part}")
        elif total:
            lines += _walk(total, "+", a * part)
        total += a * part
    return easy, lines


def _quotient(operation: Operation) -> tuple[bool, list[str]]:
    rest, divisor = operation.a, operation.b
    lines = []
    for part in places(operation.result):
        lines.append(f"{divisor}*{part}={divisor * part}")
        if rest != divisor * part:
            lines.append(f"{rest}-{divisor * part}={rest - divisor * part}")
        rest -= divisor * part
    lines.append("+".join(map(str, places(operation.result))) + f"={operation.result}")
    return operation.result <= 12 or len(places(operation.result)) < 2, lines


def check_of(operation: Operation, result: int) -> tuple[Operation, int]:
    """The check of `result`: an inverse operation (for a product a rounded estimate), and what it ought to give."""
    if operation.sign == "+":
        return Operation("-", result, operation.b), operation.a
    if operation.sign == "-":
        return Operation("+", result, operation.b), operation.a
    if operation.sign == "/":
        return Operation("*", *sorted((result, operation.b))), operation.a
    estimate = Operation("*", _rounded(operation.a), _rounded(operation.b))
    return estimate, estimate.result


def _rounded(number: int) -> int:
    unit = int(10 ** (len(str(number)) - 1))
    return (number + unit // 2) // unit * unit


def direct_trace(operations: Sequence[Operation]) -> Trace:
    """Each step in one go, one a line, then the answer."""
    trace = Trace()
    for operation in operations:
        trace.add(f"{operation}={operation.result}.\n")
    trace.add(f"The answer is {operations[-1].result}.")
    return trace


def thinking_trace(
    operations: Sequence[Operation],
    target: str,
    *,
    slip: Slip | None = None,
    restate: bool = True,
    check: bool = True,
    whole: frozenset[int] = frozenset(),
) -> Trace:
    """A thought, its end, and the answer.

    `restate`, `check` and `whole` (the steps to do in one go) leave parts out, with the decision to do so masked.
    """
    trace = Trace()
    trace.add("<think>\n")
    if restate:
        trace.add(f"To find: {target}.\n")
    unmasked_from = len(trace.text)
    taken = operations if slip is None else _with_slip(operations, slip)
    for index, operation in enumerate(taken):
        _work(trace, operation, slip if slip is not None and slip.index == index else None, whole=index in whole)
    if not restate:
        trace.masked.append((unmasked_from, unmasked_from + 1))
    if check:
        _check(trace, operations, taken, slip)
        trace.add("</think>")
    else:
        trace.add("</think>", masked=True)
    trace.add(f"\n\nThe answer is {operations[-1].result}.")
    return trace


def _work(trace: Trace, operation: Operation, slip: Slip | None, *, whole: bool) -> None:
    lines = small_steps(operation)
    if len(lines) > 1 and whole:
        trace.add(str(operation))
        trace.add("=", masked=True)
        lines = [str(operation.result)]
    elif len(lines) > 1:
        trace.add(f"{operation}:\n")
    trace.add("".join(f"{line}.\n" for line in lines[:-1]))
    if slip is None:
        trace.add(f"{lines[-1]}.\n")
    else:
        trace.add(lines[-1].rpartition("=")[0] + "=")
        trace.add(str(operation.result + slip.offset), masked=True)
        trace.add(".\n")


def _with_slip(operations: Sequence[Operation], slip: Slip) -> list[Operation]:
    """The operations as they are carried out after the slip: the wrong value is used where the right one was."""
    values = {operations[slip.index].result: operations[slip.index].result + slip.offset}
    taken = list(operations[: slip.index + 1])
    for operation in operations[slip.index + 1 :]:
        new = Operation(operation.sign, values.get(operation.a, operation.a), values.get(operation.b, operation.b))
        values[operation.result] = new.result
        taken.append(new)
    return taken


def _check(trace: Trace, operations: Sequence[Operation], taken: Sequence[Operation], slip: Slip | None) -> None:
    trace.add("Check:\n")
    for index, operation in enumerate(taken):
        noticed = slip is not None and slip.index == index
        wrong = slip.offset if slip is not None and noticed else 0
        step, expected = check_of(operation, operation.result + wrong)
        if noticed:
            trace.add(f"{step}={step.result}, not {expected}. Again:\n")
            for again in operations[index:]:
                _work(trace, again, None, whole=False)
            _check(trace, operations[index:], operations[index:], None)
            return
        trace.add(f"{step}={step.result} ok.\n")

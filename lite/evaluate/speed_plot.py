"""The figures of `lite bench` as a picture: tokens a second, and a step's time, against the number of samples."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Line", "Panel", "render_plot"]

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 520, 360, 64, 46, 56
_COLORS = ("#2f6fc4", "#c0561a", "#0a8a70", "#8b5cc0", "#a08a1f", "#b0417a")
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#3c3f46}.t{font-size:14px;font-weight:600}"
    ".g{stroke:#dcdad3}.p{fill:#fff}@media(prefers-color-scheme:dark){text{fill:#d4d6da}.g{stroke:#3a3e46}.p{fill:#16181c}}"
)


@dataclass(frozen=True, slots=True)
class Line:
    """(x, median, low, high) in order of x."""

    name: str
    points: Sequence[tuple[float, float, float, float]]
    like: str = ""  # dashed, in the color of the line of that name


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart; the values start from 0 and x is logarithmic."""

    title: str
    lines: Sequence[Line]


def render_plot(panels: Sequence[Panel], x_title: str) -> str:
    """An SVG file that follows the reader's light or dark."""
    looks = _looks([line for panel in panels for line in panel.lines])
    width, height = _WIDTH * len(panels), _HEIGHT + 20 * len(looks) + 6
    body = "".join(_panel(panel, i * _WIDTH, looks, x_title) for i, panel in enumerate(panels))
    legend = "".join(_legend(i, name, look) for i, (name, look) in enumerate(looks.items()))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<style>{_STYLE}</style><rect class="p" width="{width}" height="{height}"/>{body}{legend}</svg>\n'
    )


@dataclass(frozen=True, slots=True)
class _Look:
    color: str
    dash: str = ""

    def __str__(self) -> str:
        return f'fill="none" stroke-width="2" stroke="{self.color}" stroke-dasharray="{self.dash}"'


def _looks(lines: Iterable[Line]) -> dict[str, _Look]:
    """By name of the line, in order of appearance."""
    looks: dict[str, _Look] = {}
    for line in lines:
        color = looks[line.like].color if line.like in looks else _COLORS[len(looks) % len(_COLORS)]
        looks.setdefault(line.name, _Look(color, "3 4" if line.like else ""))
    return looks


def _panel(panel: Panel, left: float, looks: Mapping[str, _Look], x_title: str) -> str:
    xs = sorted({point[0] for line in panel.lines for point in line.points})
    highest = max(point[3] for line in panel.lines for point in line.points)
    frame = _Frame(left + _LEFT, left + _WIDTH - 20, xs[0], xs[-1], 1.06 * highest)
    title = f'<text class="t" x="{left + 14}" y="24">{escape(panel.title)}</text>'
    axis = f'<text x="{left + _WIDTH / 2 + 20}" y="{_HEIGHT - 14}" text-anchor="middle">{escape(x_title)}</text>'
    lines = "".join(_line(line, frame, looks[line.name]) for line in panel.lines)
    return title + axis + _grid(frame, xs) + lines


@dataclass(frozen=True, slots=True)
class _Frame:
    left: float
    right: float
    first: float
    last: float
    highest: float

    def x(self, value: float) -> float:
        share = math.log(value / self.first) / math.log(self.last / self.first) if self.last > self.first else 0.5
        return self.left + 12 + share * (self.right - self.left - 24)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - value / self.highest * (_HEIGHT - _BOTTOM - _TOP)


def _grid(frame: _Frame, xs: Sequence[float]) -> str:
    step = _step(frame.highest)
    rows = (step * i for i in range(int(frame.highest / step) + 1))
    across = "".join(
        f'<line class="g" x1="{frame.left}" x2="{frame.right}" y1="{frame.y(value):.1f}" y2="{frame.y(value):.1f}"/>'
        f'<text x="{frame.left - 8}" y="{frame.y(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
        for value in rows
    )
    return across + "".join(
        f'<text x="{frame.x(x):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{x:g}</text>' for x in xs
    )


def _step(highest: float) -> float:
    """A round number that goes four to ten times into the range."""
    power = 10.0 ** math.floor(math.log10(highest / 4))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= highest / 4)


def _line(line: Line, frame: _Frame, look: _Look) -> str:
    points = " ".join(f"{frame.x(x):.1f},{frame.y(median):.1f}" for x, median, _, _ in line.points)
    dots = "".join(
        f'<line x1="{frame.x(x):.1f}" x2="{frame.x(x):.1f}" y1="{frame.y(low):.1f}" y2="{frame.y(high):.1f}"/>'
        f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(median):.1f}" r="3.5" fill="{look.color}"/>'
        for x, median, low, high in line.points
    )
    return f'<g {look}><polyline points="{points}"/></g>' + (
        "" if line.like else f'<g stroke="{look.color}">{dots}</g>'
    )


def _legend(index: int, name: str, look: _Look) -> str:
    y = _HEIGHT + 20 * index + 8
    return f'<path {look} d="M20 {y - 4}H52"/><text x="62" y="{y}">{escape(name)}</text>'

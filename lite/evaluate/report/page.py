"""The report as one HTML file that needs nothing else: no network, no other file, no font.

All that comes from a log reaches the page as data: JSON inside a script element that no browser runs, from which the
page's own script makes text nodes. The page's policy lets no other script run and no connection be made.
"""

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files

from lite.evaluate.log import Log, Plain
from lite.evaluate.report.reliability import reliability_of
from lite.evaluate.report.rows import Row
from lite.evaluate.report.traces import Traces

__all__ = ["page_data", "render_page"]

_SCRIPTS = ("dom", "format", "plot", "charts", "calibration", "table", "trace", "samples", "main")


def page_data(log: Log, summary: Plain, measured: Plain, rows: Sequence[Row], traces: Traces, title: str) -> Plain:
    """All that the page shows."""
    labels = [row.strategy for row in rows]
    return {
        "title": title,
        "task": summary["task"]["name"],
        "model": {name: summary["model"].get(name, "") for name in ("name", "engine", "format", "hash")},
        "checker": summary["checker"],
        "settings": log.head["options"],
        "questions": [_question(log, name, labels) for name in log.items],
        "rows": [asdict(row) for row in rows],
        "curves": summary["curves"],
        "reliability": [reliability_of(log, label) for label in labels],
        "measured": {name: measured[name] for name in ("seconds", "sampled_tokens", "tokens_per_second", "joules")},
        "traces": traces.packed,
        "traced_of": traces.total,
    }


def render_page(data: Plain) -> str:
    """The file's text."""
    style, script = _part("style.css"), _script()
    parts = {
        "policy": f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'",
        "title": html.escape(data["title"]),
        "plain": _plain_table(data["rows"]),
        "style": style,
        "script": script,
        "data": _embedded(data),
    }
    page = _part("page.html")
    head, *rest = page.split("{{")
    return head + "".join(parts[name] + after for name, _, after in (piece.partition("}}") for piece in rest))


def _script() -> str:
    return '"use strict";\n(() => {\n' + "\n".join(_part(f"{name}.js") for name in _SCRIPTS) + "})();\n"


def _part(name: str) -> str:
    return files(__package__).joinpath("page", name).read_text("utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _embedded(data: Plain) -> str:
    """JSON that cannot end its script element, nor begin a comment in it."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("<", "\\u003c")


def _question(log: Log, name: str, labels: Sequence[str]) -> list[str]:
    """Its id, how it begins, and for each strategy 1 (right), 0 (wrong) or - (not asked)."""
    answers = (log.answers.get((name, label)) for label in labels)
    marks = "".join("-" if line is None else str(int(line["right"])) for line in answers)
    return [name, " ".join(log.items[name].question.split())[:90], marks]


def _plain_table(rows: Sequence[Plain]) -> str:
    """For readers without a script: a mail program, a terminal browser."""
    lines = (
        f"<tr><td>{html.escape(row['strategy'])}<td>{row['accuracy']:.1%}<td>{row['tokens']:.0f}</tr>" for row in rows
    )
    return "<table><tr><th>strategy<th>accuracy<th>tokens a question</tr>" + "".join(lines) + "</table>"

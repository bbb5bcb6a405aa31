"""The figures as comma-separated values, for a spreadsheet or another program."""

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, fields

from lite.evaluate.report.rows import Row

__all__ = ["render_sheet"]


def render_sheet(rows: Iterable[Row]) -> str:
    """A line for the names and one for each strategy; what is not known is empty."""
    text = io.StringIO()
    names = [field.name for field in fields(Row)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()

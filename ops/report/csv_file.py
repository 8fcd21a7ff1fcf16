"""The report as one CSV table for spreadsheets: the sum, the sources, then the owners."""

import csv
import io
from dataclasses import asdict, fields

from ops.output import escape_unseen
from ops.report.figures import OwnerFigures, Report, SourceFigures

BYTE_ORDER_MARK = "\ufeff"
"""Without it Excel reads Vietnamese names in the code page of the machine."""
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a cell with text must not begin with: a spreadsheet would run it. Names are text of others."""
OF_SOURCES = [field.name for field in fields(SourceFigures)]
OF_OWNERS = [field.name for field in fields(OwnerFigures) if field.name not in OF_SOURCES]


def csv_text(report: Report) -> str:
    """Return the rows `total`, `source` and `owner`; a column that a row does not have is empty."""
    rows = [
        ("total", asdict(report.total)),
        *(("source", asdict(source)) for source in report.sources),
        *(("owner", asdict(owner)) for owner in report.owners),
    ]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["row", *OF_SOURCES, *OF_OWNERS])
    for kind, figures in rows:
        writer.writerow([kind, *(_cell(figures.get(name)) for name in [*OF_SOURCES, *OF_OWNERS])])
    return BYTE_ORDER_MARK + text.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = escape_unseen(str(value))
    # A number is one with any first digits.
    return f"'{text}" if isinstance(value, str) and text.startswith(FORMULA) else text

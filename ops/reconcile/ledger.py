"""Print the ledger of a day for a person."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from leads.domain.body import ICT

LISTS = (
    "found_missing",
    "left_missing",
    "rejected",
    "duplicates",
    "unexpected",
    "unlisted",
    "sample_missing",
)
FIGURES = (
    "expected",
    "found",
    "processed",
    "held",
    "pending",
    "inserted",
    "superseded",
    "sampled",
    "seconds",
)
MAX_SHOWN_IDS = 10


def print_reports(reports: Sequence[Mapping[str, Any]], console: Console, *, dry_run: bool) -> None:
    """Print a table for each connection, or a line if its day could not be compared."""
    if not reports:
        console.print(
            "No report of that day is stored, and no connection existed then. "
            "Check the day; `leads connection status` lists the connections."
        )
    for report in reports:
        if "expected" not in report:
            console.print(f"{report['connection_id']}: {report['detail']}", style="red", highlight=False)
            continue
        suffix = ", nothing inserted" if dry_run else ""
        console.print(
            f"{report['day']} ({ICT}), connection {report['connection_id']}{suffix}",
            soft_wrap=True,
            highlight=False,
        )
        console.print(_table(report))
        if "error" in report:
            console.print(report["detail"], style="red", highlight=False)


def _table(report: Mapping[str, Any]) -> Table:
    table = Table()
    table.add_column("what")
    table.add_column("records", justify="right")
    table.add_column("ids")
    for name in FIGURES:
        table.add_row(name, str(report[name]), "")
    for name in LISTS:
        ids = [" ".join(item) if isinstance(item, list) else item for item in report[name]]
        shown = "\n".join(ids[:MAX_SHOWN_IDS]) + ("\n…" if len(ids) > MAX_SHOWN_IDS else "")
        table.add_row(name, str(len(ids)), shown)
    table.add_row("webhook_loss", f"{report['webhook_loss']:.2%}", str(report["first_seen"]))
    return table

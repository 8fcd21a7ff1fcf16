"""Figures as people read them, and the report on a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from ops.report.figures import OwnerFigures, Report, SourceFigures

NO_SOURCE_ID = "(none)"
MINUTES_PER_HOUR = 60
NOTHING = "–"


def source_name(source: SourceFigures | OwnerFigures, total: str, no_source: str) -> str:
    """Return the name of a source, else its id; `total` and `no_source` are words for what is no source."""
    if source.source_id is None:
        return total
    if source.source_id == NO_SOURCE_ID:
        return no_source
    return source.source or source.source_id


def duration(minutes: float | None, minute: str = "min", hour: str = "h") -> str:
    """Return minutes as `12 min`, from an hour on as `1 h 05`; `minute` and `hour` are the units' words.

    Figures are compared, and in Vietnamese too: leads/domain/visible_text.py says how long ago something was.
    """
    if minutes is None:
        return NOTHING
    rounded = round(minutes)
    if rounded < MINUTES_PER_HOUR:
        return f"{rounded} {minute}"
    return f"{rounded // MINUTES_PER_HOUR} {hour} {rounded % MINUTES_PER_HOUR:02}"


def percentage(share: float | None) -> str:
    return NOTHING if share is None else f"{share:.1%}"


def is_fair(owner: OwnerFigures) -> bool:
    """Whether the members' counters are within the bound of round robin; so without available members."""
    return owner.spread is None or owner.bound is None or owner.spread <= owner.bound + 1e-9


def fairness(owner: OwnerFigures) -> str:
    """Return the spread of the roster's counters and its bound."""
    if owner.spread is None or owner.bound is None:
        return "no one available"
    return f"{owner.spread:.2f} of at most {owner.bound:.2f}"


def print_report(report: Report, console: Console) -> None:
    """Print the table of sources, then the owners of each source, within 80 columns."""
    console.print(f"{report.period.first} to {report.period.last} (Vietnam)")
    console.print(_sources_table([report.total, *report.sources]))
    for source in report.sources:
        owners = report.owners_of(source)
        if owners:
            console.print(f"{source_name(source, '', 'without a source')}: fairness {fairness(owners[0])}")
            console.print(_owners_table(owners))
    console.print("response: p50 / p95, then in business hours. held: switched off. lost: by the webhook.")


def _sources_table(sources: Sequence[SourceFigures]) -> Table:
    table = Table()
    table.add_column("source", overflow="fold")
    for name in ("leads", "tickets", "held", "no phone", "lost", "changed"):
        table.add_column(name, justify="right")
    table.add_column("response")
    for each in sources:
        times = (
            f"{duration(each.response_p50_minutes)} / {duration(each.response_p95_minutes)}\n"
            f"{duration(each.response_p50_business_minutes)} / {duration(each.response_p95_business_minutes)}"
        )
        counts = (each.leads, each.tickets, each.held, each.no_phone, each.missed_by_webhook, each.changed)
        table.add_row(source_name(each, "all", "without a source"), *map(str, counts), times)
    return table


def _owners_table(owners: Sequence[OwnerFigures]) -> Table:
    table = Table()
    table.add_column("owner", overflow="fold")
    for name in ("tickets", "share", "changed", "weight"):
        table.add_column(name, justify="right")
    for each in owners:
        weight = NOTHING if each.weight is None else str(each.weight)
        counts = (str(each.tickets), percentage(each.share), str(each.changed), weight)
        table.add_row(each.owner or NOTHING, *counts)
    return table

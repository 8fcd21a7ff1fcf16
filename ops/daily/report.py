"""`leads report`: the figures of a period for sales managers."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from leads.domain.body import ICT
from ops.clients.db_session import DbSession, load_rows, open_session
from ops.failures import WrongUsage
from ops.html import render_page
from ops.output import AsJson, ForeignTextConsole, escape_unseen, print_json
from ops.settings import read_operator_settings


@dataclass(frozen=True, slots=True)
class Period:
    """From the beginning of `first` to the end of `last`, both days in Vietnam, and not beyond `now`."""

    first: date
    last: date
    now: datetime

    @property
    def since(self) -> datetime:
        return datetime.combine(self.first, time(), ICT)

    @property
    def until(self) -> datetime:
        return min(datetime.combine(self.last + timedelta(days=1), time(), ICT), self.now)


def read_period(week: int | None, first: date | None, last: date | None, now: datetime) -> Period:
    """Return the period that the options name; without any, the last week that is over.

    `week` is the number of an ISO week, the newest that has begun. Raises WrongUsage.
    """
    today = now.astimezone(ICT).date()
    if week is not None and (first or last):
        raise WrongUsage("Give either --week, or --from and --to.")
    if week is not None:
        first = _monday(week, today)
    elif first is None and last is None:
        first = today - timedelta(days=today.weekday() + 7)
    elif first is None:
        raise WrongUsage("Give --from too: the first day of the report.")
    else:
        last = last or today
    last = last or first + timedelta(days=6)
    if first > last:
        raise WrongUsage(f"--from {first} is after --to {last}.")
    if first > today:
        raise WrongUsage(f"{first} has not begun yet in Vietnam. Give an earlier day.")
    return Period(first, last, now)


def _monday(week: int, today: date) -> date:
    """Return the first day of the newest week of that number that has begun. Raises WrongUsage."""
    for year in range(today.isocalendar().year, today.isocalendar().year - 8, -1):
        try:
            monday = date.fromisocalendar(year, week, 1)
        except ValueError:
            continue  # a week 53, which few years have
        if monday <= today:
            return monday
    raise WrongUsage(f"There is no week {week}. Weeks are 1 to 53.")


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """A row of report/list_sources. `connection` is None for the sum of all sources.

    `unanswered` tickets count in the response times with their age at the end of the period.
    """

    connection: str | None
    source_id: str | None
    source: str | None
    leads: int
    tickets: int
    held: int
    no_phone: int
    missed_by_webhook: int
    unassigned: int
    changed: int
    unanswered: int
    response_p50_minutes: float | None
    response_p95_minutes: float | None
    response_p50_business_minutes: float | None
    response_p95_business_minutes: float | None


@dataclass(frozen=True, slots=True)
class OwnerFigures:
    """A row of report/list_owners: the tickets of a source that an owner was chosen for.

    `share`: of the source's tickets with an owner, None without one. `weight` is None for an owner who is no
    member any more. `spread` and `bound` are of the roster as it is now; None while no member is available.
    """

    connection: str
    source_id: str
    source: str | None
    owner: str | None
    tickets: int
    share: float | None
    changed: int
    weight: int | None
    spread: float | None
    bound: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a period: of all sources together, of each source, and of the owners of each."""

    period: Period
    total: SourceFigures
    sources: Sequence[SourceFigures]
    owners: Sequence[OwnerFigures]

    def owners_of(self, source: SourceFigures) -> list[OwnerFigures]:
        key = (source.connection, source.source_id)
        return [owner for owner in self.owners if (owner.connection, owner.source_id) == key]

    def document(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        days: dict[str, datetime | str] = {
            "from": self.period.first.isoformat(),
            "to": self.period.last.isoformat(),
            "until": self.period.until,
        }
        return {
            "period": days,
            "total": asdict(self.total),
            "sources": [asdict(source) for source in self.sources],
            "owners": [asdict(owner) for owner in self.owners],
        }


def load_report(db: DbSession, period: Period) -> Report:
    window = {"from": period.since, "to": period.until}
    total, *sources = load_rows(db, SourceFigures, "report/list_sources", window)
    return Report(period, total, sources, load_rows(db, OwnerFigures, "report/list_owners", window))


TEMPLATE = Path(__file__).with_name("report.html.j2")
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


def _right(*headings: str) -> list[Column]:
    return [Column(heading, justify="right") for heading in headings]


def _sources_table(sources: Sequence[SourceFigures]) -> Table:
    counted = ("leads", "tickets", "held", "no phone", "lost", "changed")
    table = Table(Column("source", overflow="fold"), *_right(*counted), "response")
    for each in sources:
        times = (
            f"{duration(each.response_p50_minutes)} / {duration(each.response_p95_minutes)}\n"
            f"{duration(each.response_p50_business_minutes)} / {duration(each.response_p95_business_minutes)}"
        )
        counts = (each.leads, each.tickets, each.held, each.no_phone, each.missed_by_webhook, each.changed)
        table.add_row(source_name(each, "all", "without a source"), *map(str, counts), times)
    return table


def _owners_table(owners: Sequence[OwnerFigures]) -> Table:
    table = Table(Column("owner", overflow="fold"), *_right("tickets", "share", "changed", "weight"))
    for each in owners:
        weight = NOTHING if each.weight is None else str(each.weight)
        counts = (str(each.tickets), percentage(each.share), str(each.changed), weight)
        table.add_row(each.owner or NOTHING, *counts)
    return table


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


def html_page(report: Report) -> str:
    """Return the page for managers, in Vietnamese."""
    period = report.period
    return render_page(
        TEMPLATE,
        days=f"{period.first:%d/%m/%Y} – {period.last:%d/%m/%Y}",
        made=f"{period.until.astimezone(ICT):%H:%M %d/%m/%Y}",
        sections=[(report.total, []), *((source, report.owners_of(source)) for source in report.sources)],
        source_name=source_name,
        duration=duration,
        percentage=percentage,
        is_fair=is_fair,
    )


DAY = ["%Y-%m-%d"]


def report(
    week: Annotated[
        int | None, typer.Option(help="An ISO week, the newest of that number.", min=1, max=53)
    ] = None,
    first: Annotated[
        datetime | None, typer.Option("--from", formats=DAY, help="The first day, in Vietnam.")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=DAY, help="The last day; without it today.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a table for spreadsheets.")] = False,
    as_html: Annotated[bool, typer.Option("--html", help="Print a page for managers.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show managers what happened to the leads of a week: sources, response times, owners.

    Without a period it is the last week that is over. The figures are counted as the key figures are. Needs
    DATABASE_URL.
    """
    if as_csv + as_html + as_json > 1:
        raise WrongUsage("Give one of --csv, --html and --json.")
    period = read_period(week, first and first.date(), last and last.date(), datetime.now(UTC))
    with open_session(read_operator_settings("DATABASE_URL").database_url, "report") as db:
        found = load_report(db, period)
    if as_json:
        print_json(found.document())
    elif as_csv:
        typer.echo(csv_text(found), nl=False)
    elif as_html:
        typer.echo(html_page(found), nl=False)
    else:
        print_report(found, ForeignTextConsole())

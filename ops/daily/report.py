"""`leads report`: the figures of a period for sales managers."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from leads.domain.body import ICT
from ops.clients.db_session import QUERIES, DbSession, open_session
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


Figures = Mapping[str, Any]
"""A row of report/list_sources or report/list_owners."""


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a period: of all sources together, of each source, and of the owners of each."""

    period: Period
    total: Figures
    sources: Sequence[Figures]
    owners: Sequence[Figures]

    def owners_of(self, source: Figures) -> list[Figures]:
        key = (source["connection"], source["source_id"])
        return [owner for owner in self.owners if (owner["connection"], owner["source_id"]) == key]

    def document(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        first, last = self.period.first.isoformat(), self.period.last.isoformat()
        return {
            "period": {"from": first, "to": last, "until": self.period.until},
            "total": self.total,
            "sources": self.sources,
            "owners": self.owners,
        }


def load_report(db: DbSession, period: Period) -> Report:
    window = {"from": period.since, "to": period.until}
    total, *sources = db.execute(QUERIES["report/list_sources"], window).fetchall()
    return Report(period, total, sources, db.execute(QUERIES["report/list_owners"], window).fetchall())


TEMPLATE = Path(__file__).with_name("report.html.j2")
NO_SOURCE_ID = "(none)"
MINUTES_PER_HOUR = 60
NOTHING = "–"


def source_name(source: Figures, total: str, no_source: str) -> str:
    """Return the name of a source, else its id; `total` and `no_source` are words for what is no source."""
    names = {None: total, NO_SOURCE_ID: no_source}
    return names.get(source["source_id"]) or source["source"] or source["source_id"]


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


def is_fair(owner: Figures) -> bool:
    """Whether the members' counters are within the bound of round robin; so without available members."""
    return owner["spread"] is None or owner["bound"] is None or owner["spread"] <= owner["bound"] + 1e-9


def fairness(owner: Figures) -> str:
    """Return the spread of the roster's counters and its bound."""
    if owner["spread"] is None or owner["bound"] is None:
        return "no one available"
    return f"{owner['spread']:.2f} of at most {owner['bound']:.2f}"


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


def _sources_table(sources: Sequence[Figures]) -> Table:
    shown = {
        "leads": "leads", "tickets": "tickets", "held": "held", "no_phone": "no phone",
        "missed_by_webhook": "lost", "changed": "changed",
    }  # fmt: skip
    table = Table(Column("source", overflow="fold"), *_right(*shown.values()), "response")
    for each in sources:
        times = "\n".join(
            " / ".join(duration(each[f"response_{part}_{kind}minutes"]) for part in ("p50", "p95"))
            for kind in ("", "business_")
        )
        counts = (str(each[column]) for column in shown)
        table.add_row(source_name(each, "all", "without a source"), *counts, times)
    return table


def _owners_table(owners: Sequence[Figures]) -> Table:
    table = Table(Column("owner", overflow="fold"), *_right("tickets", "share", "changed", "weight"))
    for each in owners:
        weight = NOTHING if each["weight"] is None else str(each["weight"])
        counts = (str(each["tickets"]), percentage(each["share"]), str(each["changed"]), weight)
        table.add_row(each["owner"] or NOTHING, *counts)
    return table


BYTE_ORDER_MARK = "\ufeff"
"""Without it Excel reads Vietnamese names in the code page of the machine."""
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a cell with text must not begin with: a spreadsheet would run it. Names are text of others."""
OF_OWNERS = ("owner", "share", "weight", "spread", "bound")
"""The columns of owners that sources do not have."""


def csv_text(report: Report) -> str:
    """Return the rows `total`, `source` and `owner`; a column that a row does not have is empty."""
    columns = [*report.total, *OF_OWNERS]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["row", *columns])
    for kind, rows in (("total", [report.total]), ("source", report.sources), ("owner", report.owners)):
        writer.writerows([kind, *(_cell(row.get(name)) for name in columns)] for row in rows)
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

"""`leads report`: the figures of a period for sales managers; `leads list`: the leads of one of them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from leads.domain.body import ICT
from leads.domain.errors import BadRequest
from leads.domain.fields import fold
from leads.domain.lead_list import FIGURES, MAX_LEADS, choose_names, read_list
from leads.domain.trace import read_language
from leads.domain.trace_event import ENGLISH, VIETNAMESE, Words
from leads.domain.visible_text import duration as age
from ops.clients.db_session import QUERIES, DbSession, open_database
from ops.daily import TEXTS
from ops.daily.trace import reason_in_words
from ops.failures import WrongUsage
from ops.output import (
    AsJson,
    ForeignTextConsole,
    csv_text,
    one_line,
    print_in_column,
    print_json,
    render_page,
    say,
)

Figures = Mapping[str, Any]
"""A row of report/list_sources or report/list_owners."""
TEMPLATE = Path(__file__).with_name("report.html.j2")
NO_SOURCE_ID = "(none)"
MINUTES_PER_HOUR = 60
NOTHING = "–"
SUMS = (
    ("leads", ("new_tickets", "joined", "updated", "held", "bad_phone", "no_phone", "other")),
    ("held", ("held_by_source", "held_by_kill_switch", "held_by_connection")),
    ("tickets", ("new_tickets", "later_tickets")),
    ("tickets", ("kept", "changed", "by_hand", "unassigned")),
    ("tickets", ("answered", "unanswered", "closed_unanswered")),
)
"""A figure of the report and its parts, which it is the sum of, by their names in pancake_report_row."""
ALONE = ("missed_by_webhook", "broken")
FIGURE_NAMES: Mapping[str, str] = TEXTS["report"]["figures"]
ALSO_CALLED: Mapping[str, str] = TEXTS["report"]["also_called"]
OF_OWNERS = ("owner", "owner_id", "share", "weight", "spread", "bound")
"""The columns of owners that sources do not have."""
DAY = ["%Y-%m-%d"]
AN_INSTANT = "an ISO 8601 time (UTC if it names no zone)"
FirstDay = Annotated[datetime | None, typer.Option("--since", formats=DAY, help="The first day, in Vietnam.")]
LastDay = Annotated[
    datetime | None, typer.Option("--until", formats=DAY, help="The last day; without it today.")
]


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
        raise WrongUsage("Give either --week, or --since and --until.")
    if week is not None:
        first = _monday(week, today)
    elif first is None and last is None:
        first = today - timedelta(days=today.weekday() + 7)
    elif first is None:
        raise WrongUsage("Give --since too: the first day of the report.")
    else:
        last = last or today
    last = last or first + timedelta(days=6)
    if first > last:
        raise WrongUsage(f"--since {first} is after --until {last}.")
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


def ends_of(day: datetime | None, since: str | None, until: str | None) -> tuple[str | None, str | None]:
    """Return the ends of a period of times, in which a last day that is named is whole. Raises WrongUsage."""
    if day:
        if since or until:
            raise WrongUsage("Give either --day, or --since and --until.")
        since = until = f"{day:%Y-%m-%d}"
    with suppress(ValueError, OverflowError):
        until = (date.fromisoformat(until or "") + timedelta(days=1)).isoformat()
    return since, until


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a period: of all sources together, of each source, and of the owners of both."""

    period: Period
    total: Figures
    sources: Sequence[Figures]
    owners: Sequence[Figures]

    def owners_of(self, source: Figures) -> list[Figures]:
        key = (source["connection"], source["source_id"])
        return [owner for owner in self.owners if (owner["connection"], owner["source_id"]) == key]

    def document(self) -> dict[str, Any]:
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


def source_name(source: Figures, total: str, no_source: str) -> str:
    """Return the name of a source, else its id; `total` and `no_source` are words for what is no source."""
    names = {None: total, NO_SOURCE_ID: no_source}
    return names.get(source["source_id"]) or source["source"] or source["source_id"]


def parts_of(figures: Figures, parts: Sequence[str]) -> list[str]:
    """Return the parts of a sum that are not 0; the first if all are."""
    return [name for name in parts if figures[name]] or [parts[0]]


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


def in_vietnamese(number: str) -> str:
    """Return a number as Vietnam writes it: 38,5 %."""
    return number.replace(".", ",").replace("%", " %")


def is_fair(owner: Figures) -> bool:
    """Whether the members' counters are within the bound of round robin; so without available members."""
    return owner["spread"] is None or owner["bound"] is None or owner["spread"] <= owner["bound"] + 1e-9


def fairness(owner: Figures) -> str:
    if owner["spread"] is None or owner["bound"] is None:
        return "no member available"
    return f"{owner['spread']:.2f} of at most {owner['bound']:.2f}"


def print_report(report: Report, console: Console) -> None:
    """Print for all sources, then for each, its sums, response times and owners, within the terminal."""
    period = report.period
    console.print(f"{period.first} to {period.last} (Vietnam)")
    for source in (report.total, *report.sources):
        console.print(f"\n{one_line(source_name(source, 'all sources', 'without a source'))}")
        for begin, line in _lines(source, period.now):
            print_in_column(f"  {begin:<10}", line, console)
        owners = report.owners_of(source)
        if owners:
            console.print(_owners_table(owners))
        if owners and source is not report.total:
            console.print(f"  fairness  {fairness(owners[0])}")
    say(f"The leads of a figure: leads list FIGURE --since {period.first} --until {period.last}")


def _lines(source: Figures, now: datetime) -> Iterator[tuple[str, str]]:
    for whole, parts in SUMS:
        if source[whole] or whole == "leads":
            sums = " + ".join(f"{name} {source[name]}" for name in parts_of(source, parts))
            yield whole, f"{source[whole]} = {sums}"
    half, most, half_open, most_open = (
        duration(source[f"response_{part}_{kind}minutes"])
        for kind in ("", "business_") for part in ("p50", "p95")
    )  # fmt: skip
    if source["answered"]:
        yield (
            "response",
            f"half within {half}, 95 % within {most}; by business hours {half_open}, {most_open}",
        )
    if source["unanswered"]:
        oldest = age(now - source["oldest_unanswered_at"])
        yield "unanswered", f"{source['unanswered']}/{source['tickets']}, the oldest for {oldest}"
    yield from ((name.partition("_")[0], f"{source[name]} {name}") for name in ALONE if source[name])


def _owners_table(owners: Sequence[Figures]) -> Table:
    right = [
        Column(heading, justify="right")
        for heading in ("tickets", "share", "changed", "by hand", "unanswered", "weight")
    ]
    table = Table(Column("owner", overflow="fold"), *right)
    for each in owners:
        weight = NOTHING if each["weight"] is None else str(each["weight"])
        counts = [str(each[name]) for name in ("changed", "by_hand", "unanswered")]
        table.add_row(
            each["owner"] or NOTHING, str(each["tickets"]), percentage(each["share"]), *counts, weight
        )
    return table


def csv_of(report: Report) -> str:
    """Return the rows `total`, `source` and `owner`; a column that a row does not have is empty."""
    columns = [*report.total, *OF_OWNERS]
    kinds = (("total", [report.total]), ("source", report.sources), ("owner", report.owners))
    rows = ([kind, *(row.get(name) for name in columns)] for kind, rows in kinds for row in rows)
    return csv_text([["row", *columns], *rows])


def html_page(report: Report) -> str:
    """Return the page for managers, in Vietnamese."""
    period = report.period
    return render_page(
        TEMPLATE,
        days=_days(period),
        period=f"--since {period.first} --until {period.last}",
        made=f"{period.until.astimezone(ICT):%H:%M %d/%m/%Y}",
        sections=[(each, report.owners_of(each)) for each in (report.total, *report.sources)],
        source_name=source_name,
        duration=partial(duration, minute="phút", hour="giờ"),
        age=lambda at: age(period.now - at, in_vietnamese=True),
        percentage=lambda share: in_vietnamese(percentage(share)),
        in_vietnamese=in_vietnamese,
        is_fair=is_fair,
        parts_of=parts_of,
        sums=SUMS,
        words=FIGURE_NAMES,
        also_called=ALSO_CALLED,
        no_source_id=NO_SOURCE_ID,
    )


def _days(period: Period) -> str:
    first, last = f"{period.first:%d/%m/%Y}", f"{period.last:%d/%m/%Y}"
    return f"ngày {first}" if first == last else f"{first} – {last}"


def report(
    week: Annotated[
        int | None, typer.Option(help="An ISO week, the newest of that number.", min=1, max=53)
    ] = None,
    day: Annotated[datetime | None, typer.Option(formats=DAY, help="One day, in Vietnam.")] = None,
    first: FirstDay = None,
    last: LastDay = None,
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
    if day and (week or first or last):
        raise WrongUsage("Give either --day, --week, or --since and --until.")
    first, last = day or first, day or last
    period = read_period(week, first and first.date(), last and last.date(), datetime.now(UTC))
    with open_database("report") as db:
        found = load_report(db, period)
    if as_json:
        print_json(found.document())
    elif as_csv:
        typer.echo(csv_of(found), nl=False)
    elif as_html:
        typer.echo(html_page(found), nl=False)
    else:
        print_report(found, ForeignTextConsole())


COLUMNS = (
    "event_id", "arrived_at", "connection", "record_id", "source", "phone", "customer", "owner", "ticket",
    "ticket_status", "ticket_created_at", "first_response_at", "reason", "can_be_corrected",
)  # fmt: skip
BY_WORD = {fold(word): name for each in (ALSO_CALLED, FIGURE_NAMES) for name, word in each.items()}
"""The figures by what managers call them."""


def list_leads(
    figure: Annotated[
        str, typer.Argument(help=f"One of {', '.join(FIGURES)}, or its name in the report.")
    ] = "leads",
    day: Annotated[
        datetime | None, typer.Option(formats=DAY, help="A day in Vietnam; without it today.")
    ] = None,
    first: FirstDay = None,
    last: LastDay = None,
    owner: Annotated[str | None, typer.Option(help="Name or id of the ticket's owner.")] = None,
    source: Annotated[str | None, typer.Option(help="Name or id of the source.")] = None,
    limit: Annotated[int, typer.Option(help="How many are shown.", min=1, max=MAX_LEADS)] = MAX_LEADS,
    lang: Annotated[str, typer.Option(help="Language: en, or vi for managers.")] = ENGLISH,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a table for spreadsheets.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the leads that count in a figure of the report, the oldest first.

    Of today in Vietnam, of a day, or of days. The last line counts tickets that people made by hand for a
    phone that a lead had within three days. Needs DATABASE_URL.
    """
    figure = BY_WORD.get(fold(figure), figure)
    if figure not in FIGURES:
        raise WrongUsage(f"There is no figure {figure}. Give one of {', '.join(FIGURES)}.")
    if day and (first or last):
        raise WrongUsage("Give either --day, or --since and --until.")
    if as_csv and as_json:
        raise WrongUsage("Give one of --csv and --json.")
    try:
        words = Words(read_language(lang))
    except BadRequest as error:
        raise WrongUsage(str(error)) from error
    now = datetime.now(UTC)
    today = now.astimezone(ICT).replace(tzinfo=None)
    period = Period((day or first or last or today).date(), (day or last or today).date(), now)
    if period.since >= period.until:
        raise WrongUsage(f"{period.first} is after --until, or has not begun yet in Vietnam.")
    asked = {"figure": figure, "owner": owner, "source": source, "limit": limit}
    params = read_list(asked, now) | {"from": period.since, "to": period.until}
    with open_database("list") as db:
        params = choose_names(params, db.execute(QUERIES["list_leads/list_names"]).fetchall())
        found = db.execute(QUERIES["list_leads/list_leads"], params).fetchone() or {}
    if as_json:
        print_json(found)
    elif as_csv:
        rows = ([lead[name] for name in COLUMNS] for lead in found["leads"])
        typer.echo(csv_text([COLUMNS, *rows]), nl=False)
    else:
        print_leads(found, now, words, ForeignTextConsole())


def print_leads(found: Mapping[str, Any], now: datetime, words: Words, console: Console) -> None:
    leads = found["leads"]
    for lead in leads:
        arrived = datetime.fromisoformat(lead["arrived_at"]).astimezone(ICT)
        text = one_line(" · ".join(filter(None, _parts(lead, now, words))))
        print_in_column(f"{lead['event_id']:>7}  {arrived:%d/%m %H:%M}  ", text, console)
    figure = found["figure"]
    if words.language == VIETNAMESE:
        figure = FIGURE_NAMES[figure].capitalize()
    shown = words.say("list.first", count=len(leads)) if len(leads) < found["count"] else ""
    say(f"{figure}: {found['count']}{shown}")
    say(words.say("list.made_by_hand", count=found["made_by_hand"]))
    if correctable := [lead["event_id"] for lead in leads if lead["can_be_corrected"]]:
        say(words.say("list.correct", id=correctable[0]))


def _parts(lead: Mapping[str, Any], now: datetime, words: Words) -> Iterator[str | None]:
    phone = lead["phone"] or ""
    yield words.phone(phone) if phone.startswith("+") else phone
    yield lead["customer"]
    yield words.say("list.no_source") if lead["source"] == NO_SOURCE_ID else lead["source"]
    if not lead["ticket"]:
        held = f"{words.say('kind.held')}: " if "held" in lead["figures"] else ""
        yield held + reason_in_words(lead["reason"], words)
        return
    yield from (lead["owner"] or words.say("ticket.no_owner"), lead["ticket"])
    created, answered = lead["ticket_created_at"], lead["first_response_at"]
    if not answered and "closed_unanswered" in lead["figures"]:
        yield words.say("ticket.never_answered")
        return
    key = "list.answered" if answered else "list.unanswered"
    until = datetime.fromisoformat(answered) if answered else now
    yield words.say(key, time=words.duration(until - datetime.fromisoformat(created)))

"""`leads list`: the leads of a figure of the report."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from leads.domain.body import ICT
from leads.domain.lead_list import FIGURES, MAX_LEADS, choose_names, read_list
from leads.domain.visible_text import duration
from ops.clients.db_session import QUERIES, open_database
from ops.daily.report import DAY, FirstDay, LastDay, Period
from ops.failures import WrongUsage
from ops.output import AsJson, ForeignTextConsole, csv_text, one_line, print_in_column, print_json, say

COLUMNS = (
    "event_id", "arrived_at", "connection", "record_id", "source", "phone", "customer", "owner", "ticket",
    "ticket_status", "ticket_created_at", "first_response_at", "reason",
)  # fmt: skip


def list_leads(
    figure: Annotated[str, typer.Argument(help=f"One of {', '.join(FIGURES)}.")] = "leads",
    day: Annotated[
        datetime | None, typer.Option(formats=DAY, help="A day in Vietnam; without it today.")
    ] = None,
    first: FirstDay = None,
    last: LastDay = None,
    owner: Annotated[str | None, typer.Option(help="Name or id of the ticket's owner.")] = None,
    source: Annotated[str | None, typer.Option(help="Name or id of the source.")] = None,
    limit: Annotated[int, typer.Option(help="How many are shown.", min=1, max=MAX_LEADS)] = MAX_LEADS,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a table for spreadsheets.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the leads that count in a figure of the report, the oldest first.

    Of today in Vietnam, of a day, or of days. The last line counts tickets that people made by hand for a
    phone that a lead had within three days. Needs DATABASE_URL.
    """
    if figure not in FIGURES:
        raise WrongUsage(f"There is no figure {figure}. Give one of {', '.join(FIGURES)}.")
    if day and (first or last):
        raise WrongUsage("Give either --day, or --since and --until.")
    if as_csv and as_json:
        raise WrongUsage("Give one of --csv and --json.")
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
        print_leads(found, now, ForeignTextConsole())


def print_leads(found: Mapping[str, Any], now: datetime, console: Console) -> None:
    leads = found["leads"]
    for lead in leads:
        arrived = datetime.fromisoformat(lead["arrived_at"]).astimezone(ICT)
        words = [lead[name] for name in ("phone", "customer", "source", "owner", "ticket") if lead[name]]
        words.append(
            lead["reason"] if lead["first_response_at"] or not lead["ticket"] else _waiting(lead, now)
        )
        print_in_column(
            f"{lead['event_id']:>7}  {arrived:%d/%m %H:%M}  ", one_line(" · ".join(words)), console
        )
    shown = f", the first {len(leads)} of them" if len(leads) < found["count"] else ""
    say(f"{found['figure']}: {found['count']}{shown}")
    say(f"Tickets made by hand for a phone that a lead had within 3 days: {found['made_by_hand']}")
    if correctable := [lead["event_id"] for lead in leads if lead["can_be_corrected"]]:
        say(f"Correct the phone of one: leads replay {correctable[0]} --corrected-phone -")


def _waiting(lead: Mapping[str, Any], now: datetime) -> str:
    return f"not answered for {duration(now - datetime.fromisoformat(lead['ticket_created_at']))}"

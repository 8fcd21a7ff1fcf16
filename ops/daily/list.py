"""`leads list`: the leads of a figure of the report."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from leads.domain.body import ICT
from leads.domain.errors import BadRequest
from leads.domain.fields import fold
from leads.domain.lead_list import FIGURES, MAX_LEADS, choose_names, read_list
from leads.domain.trace import read_language
from leads.domain.trace_event import ENGLISH, VIETNAMESE, Words
from ops.clients.db_session import QUERIES, open_database
from ops.daily.report import ALSO_CALLED, DAY, FIGURE_NAMES, NO_SOURCE_ID, FirstDay, LastDay, Period
from ops.daily.trace import reason_in_words
from ops.failures import WrongUsage
from ops.output import AsJson, ForeignTextConsole, csv_text, one_line, print_in_column, print_json, say

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

"""`leads history`: who changed what of the integration, when, before and after."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console

from leads.domain.errors import BadRequest
from leads.domain.replay import time_in
from ops.clients.db_session import QUERIES, open_database
from ops.daily.report import AN_INSTANT, DAY, ends_of
from ops.output import (
    AsJson,
    changed_fields,
    one_line,
    print_changes,
    print_indented,
    print_json,
    say,
    text_of,
)

DEFAULT_DAYS = 30
Change = Mapping[str, Any]
"""A row of history/list_changes. `before` and `after` hold what changed, and no secret."""


class Kind(StrEnum):
    CONNECTION = "connection"
    SOURCE = "source"
    ROSTER = "roster"
    SETTING = "setting"
    EVENT = "event"
    REPLAY = "replay"
    ERASURE = "erasure"


def history(
    day: Annotated[datetime | None, typer.Option(formats=DAY, help="Of this day in Vietnam.")] = None,
    since: Annotated[
        str | None, typer.Option(help=f"From this day, or {AN_INSTANT}, on; else of the last 30 days.")
    ] = None,
    until: Annotated[str | None, typer.Option(help=f"The last day, or before {AN_INSTANT}.")] = None,
    of: Annotated[list[Kind] | None, typer.Option(help="Only changes of these; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(help="Show at most so many changes.", min=1, max=10_000)] = 100,
    as_json: AsJson = False,
) -> None:
    """Show who changed connections, sources, rosters, settings, replayed events, or erased customers.

    Changes by Settings, the console, SQL and commands, the newest first. The name of a user or of an
    application is what the session said; the database role is what it logged in as. Days are those of
    Vietnam. Needs DATABASE_URL.
    """
    since, until = ends_of(day, since, until)
    end = _read_time("--until", until)
    start = _read_time("--since", since) or (end or datetime.now(UTC)) - timedelta(days=DEFAULT_DAYS)
    params = {
        "since": start, "until": end, "kinds": [kind.value for kind in of] if of else None, "limit": limit,
    }  # fmt: skip
    with open_database("history") as db:
        changes = db.execute(QUERIES["history/list_changes"], params).fetchall()
    if as_json:
        print_json(changes)
        return
    console = Console()
    for change in changes:
        print_change(change, console)
    if not changes:
        period = " until ".join(f"{time:%Y-%m-%d %H:%M} UTC" for time in (start, end) if time)
        say(f"No changes since {period}. Give an earlier time with --since.")
    if len(changes) == limit:
        say(f"Only the newest {limit} are shown. Give a higher --limit to see more.")


def _read_time(option: str, text: str | None) -> datetime | None:
    try:
        found = time_in({option: text}, option)
        return found and found.astimezone(UTC)
    except (BadRequest, OverflowError) as error:
        hint = "Write it like 2026-05-14 or 2026-05-14T09:30"
        raise typer.BadParameter(f"{text!r} is not understood.\n  {hint}", param_hint=option) from error


def print_change(change: Change, console: Console) -> None:
    time = change["changed_at"].astimezone(UTC)
    print_indented(f"{time:%Y-%m-%d %H:%M:%S} UTC  {one_line(_describe(change))}", 0, console)
    person = f"{change['person']} ({change['changed_by']})" if change["person"] else change["changed_by"]
    role = f", Hasura role {change['hasura_role']}" if change["hasura_role"] else ""
    print_indented(one_line(f"by {person}{role}"), 1, console)
    application = f", application {change['application']}" if change["application"] else ""
    print_indented(one_line(f"database role {change['database_role']}{application}"), 1, console)
    if change["reason"]:
        print_indented(one_line(f"reason: {change['reason']}"), 1, console)
    if change["kind"] in (Kind.REPLAY, Kind.EVENT):
        return
    hidden = [
        (name, None, f"another one ({text_of(value)})")
        for name, value in sorted(change["after"].items())
        if name in change["before"] and change["before"][name] == value
    ]
    changes = [*hidden, *changed_fields(change["before"], change["after"])]
    escaped = [(one_line(name), old and one_line(old), one_line(new)) for name, old, new in changes]
    print_changes("", escaped, console)


def _describe(change: Change) -> str:
    if change["kind"] in (Kind.REPLAY, Kind.EVENT):
        what = "replay" if change["kind"] == Kind.REPLAY else change["action"]
        if change["row_id"] == "all":
            return f"{what} of all events"
        if change["rows"] == 1:
            return f"{what} of event {change['row_id']}"
        return f"{what} of {change['rows']} events, {change['row_id']} to {change['last_row_id']}"
    if change["kind"] == Kind.ERASURE:
        return f"erasure of a customer: {change['rows']} digests"
    name = f" {change['name']}" if change["name"] else ""
    return f"{change['kind']}{name}: {change['action']}"

"""`leads history`: who changed what of the integration, when, before and after."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console

from ops.clients.db_session import QUERIES, open_session
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
from ops.settings import read_operator_settings

DEFAULT_DAYS = 30


Change = Mapping[str, Any]
"""A row of history/list_changes. `before` and `after` hold what changed, and no secret."""


class Kind(StrEnum):
    """What was changed."""

    CONNECTION = "connection"
    SOURCE = "source"
    ROSTER = "roster"
    SETTING = "setting"
    EVENT = "event"
    REPLAY = "replay"
    ERASURE = "erasure"


def history(
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M"], help="UTC; without it the last 30 days."),
    ] = None,
    of: Annotated[list[Kind] | None, typer.Option(help="Only changes of these; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(help="Show at most so many changes.", min=1, max=10_000)] = 100,
    as_json: AsJson = False,
) -> None:
    """Show who changed connections, sources, rosters, settings, replayed events, or erased customers.

    Changes by Settings, the console, SQL and commands, the newest first. The name of a user or of an
    application is what the session said; the database role is what it logged in as. Needs DATABASE_URL.
    """
    database_url = read_operator_settings("DATABASE_URL").database_url
    start = since.replace(tzinfo=UTC) if since else datetime.now(UTC) - timedelta(days=DEFAULT_DAYS)
    params = {"since": start, "kinds": [kind.value for kind in of] if of else None, "limit": limit}
    with open_session(database_url, "history") as db:
        changes = db.execute(QUERIES["history/list_changes"], params).fetchall()
    if as_json:
        print_json(changes)
        return
    console = Console()
    for change in changes:
        print_change(change, console)
    if not changes:
        say(f"No changes since {start:%Y-%m-%d %H:%M} UTC. Give an earlier time with --since.")
    if len(changes) == limit:
        say(f"Only the newest {limit} are shown. Give a higher --limit to see more.")


def print_change(change: Change, console: Console) -> None:
    """Print what was changed and when, who did it, and each value before and after."""
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
    print_changes(
        [(one_line(name), old and one_line(old), one_line(new)) for name, old, new in changes], console, 2
    )


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

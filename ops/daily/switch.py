"""`leads switch`: turn the kill switch, the pause and sources on or off; `leads history`: all changes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from shlex import quote
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from leads.domain.errors import BadRequest
from leads.domain.replay import time_in
from ops import switches
from ops.clients.db_session import QUERIES, DbSession, open_database
from ops.clients.monitoring import Alertmanager, AlertmanagerUnavailable
from ops.daily import TEXTS
from ops.daily.report import AN_INSTANT, DAY, ends_of
from ops.failures import CommandFailed, only_one
from ops.output import (
    AsJson,
    changed_fields,
    examples,
    one_line,
    print_changes,
    print_indented,
    print_json,
    print_outcome,
    say,
    text_of,
    verb_group,
)
from ops.settings import read_operator_settings
from ops.switches import Setting, Switch, check_reason, list_switches

SAID: Mapping[str, str] = TEXTS["switch"]
State = Literal["on", "off"]
To = Annotated[State, typer.Argument(help="on or off.", metavar="on|off")]
Reason = Annotated[str, typer.Option(help="Why; the history of changes keeps it.")]
Until = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%dT%H:%M"], help="Planned until then, UTC: no page before. Needs ALERTMANAGER_URL."
    ),
]

app = verb_group(
    "Turn the kill switch, the pause and sources on or off, with a reason.",
    "A switch works at once, on every process. Needs DATABASE_URL.",
    examples("switch list", 'switch kill on --reason "duplicate tickets"'),
)


@app.command("list", epilog=examples("switch list", "switch list --json"))
def show(as_json: AsJson = False) -> None:
    """Show every switch: since when it is as it is, by whom and why.

    The earlier changes are shown by: leads history --of setting --of source
    """
    with open_database("switch") as db:
        found = list_switches(db)
    if as_json:
        print_json([asdict(switch) for switch in found])
        return
    console = Console()
    for switch in found:
        print_indented(one_line(f"{_title(switch)}: {_state(switch)}"), 0, console)
        print_indented(one_line(_last_change(switch)), 1, console)
        if switch.reason:
            print_indented(one_line(f"reason: {switch.reason}"), 1, console)


@app.command(epilog=examples('switch kill on --reason "duplicate tickets"', "switch kill off --reason fixed"))
def kill(to: To, reason: Reason, until: Until = None, as_json: AsJson = False) -> None:
    """Turn the kill switch on or off: while it is on, no ticket is created."""
    reason = check_reason(reason)
    alertmanager = open_alertmanager(until, is_holding=to == "on")
    was_on = _set("kill_switch", to, reason)
    labels = {"alertname": "PancakeKillSwitchOn"}
    silence(alertmanager, labels, until, reason, f"The kill switch is {to}")
    _report({"kill switch": was_on}, to, as_json, SAID[f"kill_{to}"])


@app.command(epilog=examples('switch pause on --reason "Diva is migrated"', "switch pause off --reason done"))
def pause(to: To, reason: Reason, as_json: AsJson = False) -> None:
    """Pause processing, or go on: meanwhile leads are stored and wait."""
    was_on = _set("processing_paused", to, check_reason(reason))
    _report({"pause": was_on}, to, as_json, SAID[f"pause_{to}"])


@app.command(
    context_settings={"ignore_unknown_options": True},  # Pancake's ids of sources begin with a minus: -1
    epilog=examples("switch source Facebook Zalo on --reason W2", 'switch source -1 off --reason "spam"'),
)
def source(
    which: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE...", help="Names, ids in Pancake, or ids: all of them, or none."),
    ],
    to: To,
    reason: Reason,
    connection: Annotated[str | None, typer.Option(help="Name of the connection of the sources.")] = None,
    until: Until = None,
    as_json: AsJson = False,
) -> None:
    """Switch sources on or off: leads without an active source are held."""
    reason = check_reason(reason)
    alertmanager = open_alertmanager(until, is_holding=to == "off")
    with open_database("switch") as db, db.transaction():
        listed = list_switches(db)
        found = list(dict.fromkeys(_find(listed, each, connection) for each in which))
        unable = [_title(each) for each in found if not each.can_be_on]
        if to == "on" and unable:
            raise CommandFailed(
                f"{', '.join(unable)} cannot be switched on: Pancake removed it, or it has no name yet.\n"
                "It gets its name from the next sync_sources, within 15 minutes."
            )
        before = [_set_source(db, each, to, reason) for each in found]
    for each, was in zip(found, before, strict=True):
        named = {"connection": was.connection_id, "source": str(each.pancake_source_id)}
        labels = {"alertname": "PancakeSourceOff", **named}
        silence(alertmanager, labels, until, reason, f"The {_title(each)} is {to}")
    was_on = {_title(each): was.was_on for each, was in zip(found, before, strict=True)}
    words = " ".join(map(quote, which)) + (f" --connection {quote(connection)}" if connection else "")
    _report(was_on, to, as_json, SAID[f"source_{to}"].format(words))


def _set_source(db: DbSession, found: Switch, to: State, reason: str) -> switches.SourceBefore:
    before = switches.set_source(db, found.row_id, is_on=to == "on", reason=reason)
    if before is None:
        raise CommandFailed(f"{_title(found)} was removed meanwhile. See: leads switch list")
    return before


def _set(setting: Setting, to: State, reason: str) -> bool:
    with open_database("switch") as db:
        return switches.set_setting(db, setting, is_on=to == "on", reason=reason)


def open_alertmanager(until: datetime | None, *, is_holding: bool) -> Alertmanager | None:
    """Check what is needed to make a silence, or to end those of before; None if there is nothing to do."""
    if until is None:
        url = "" if is_holding else read_operator_settings(may_have=["ALERTMANAGER_URL"]).alertmanager_url
        return Alertmanager(url) if url else None
    now = datetime.now(UTC)
    if not is_holding:
        raise typer.BadParameter("--until is for a switch that holds leads")
    if until.replace(tzinfo=UTC) <= now:
        raise typer.BadParameter(f"--until {until:%Y-%m-%dT%H:%M} has passed; it is {now:%Y-%m-%dT%H:%M} UTC")
    return Alertmanager(read_operator_settings("ALERTMANAGER_URL").alertmanager_url)


def silence(
    alertmanager: Alertmanager | None,
    labels: Mapping[str, str],
    until: datetime | None,
    reason: str,
    done: str,
) -> None:
    """Make the silence of the alert on leads that a switch holds, or end those of before.

    The switch is set: `done` says so if Alertmanager does not answer.
    """
    if alertmanager is None:
        return
    try:
        if until is None:
            alertmanager.end_silences(labels)
        else:
            alertmanager.silence(labels, datetime.now(UTC), until.replace(tzinfo=UTC), reason)
    except AlertmanagerUnavailable as error:
        state = "may still be silenced" if until is None else "is not silenced"
        raise CommandFailed(f"{done}, but {labels['alertname']} {state}. Run it again.\n{error}") from error


def _report(was_on: Mapping[str, bool], to: State, as_json: bool, said: str) -> None:
    """Say how the switches are and were; for programs a document, or a list of several."""
    documents, lines = [], []
    for name, was in was_on.items():
        before = "on" if was else "off"
        documents.append({"switch": name, "state": to, "before": before, "changed": to != before})
        lines.append(
            f"{name}: {to} " + ("already, nothing was changed." if to == before else f"(before: {before}).")
        )
    if any(each["changed"] for each in documents):
        lines.append(said)
    print_outcome(documents if len(documents) > 1 else documents[0], "\n".join(lines), as_json=as_json)


def _find(found: Sequence[Switch], which: str, connection: str | None) -> Switch:
    of_connection = [each for each in found if connection in (None, each.connection)]
    matching = {
        f"{each.row_id} ({each.connection})": each for each in switches.match_sources(of_connection, which)
    }
    return only_one(matching, "source", which, "They are listed by: leads switch list")


def _title(switch: Switch) -> str:
    if switch.kind == "source":
        return f"source {switch.name or 'without a name'} ({switch.pancake_source_id}) of {switch.connection}"
    return {"kill": "kill switch"}.get(switch.kind, f"{switch.kind} {switch.name or ''}".strip())


def _state(switch: Switch) -> str:
    if switch.kind == "connection":
        return "active" if switch.is_on else "disabled"
    return "on" if switch.is_on else "off"


def _last_change(switch: Switch) -> str:
    if switch.changed_at is None:
        return "never changed"
    by = switch.person or switch.changed_by
    program = f", {switch.application}" if switch.application else ""
    return f"since {switch.changed_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, by {by}{program}"


# `leads history`

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
    print_indented(f"{time:%Y-%m-%d %H:%M:%S} UTC  {one_line(_describe_change(change))}", 0, console)
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


def _describe_change(change: Change) -> str:
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

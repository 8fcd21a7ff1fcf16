"""`leads replay`: call the action pancake_replay_events."""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from leads.domain.errors import BadRequest, IntegrationError
from leads.domain.replay import ReplayedEvent, ReplayResults, count_results, read_request
from ops.clients.db_session import login_name
from ops.clients.hasura_admin import Engine, RequestRefused
from ops.daily.report import AN_INSTANT, DAY, ends_of
from ops.failures import CommandFailed, WrongUsage, fail_if
from ops.metadata.directory import role_of_action
from ops.output import (
    AsJson,
    Changes,
    ForeignTextConsole,
    changed_fields,
    print_changes,
    print_indented,
    print_result,
    progress_bar,
    say,
    show_activity,
    times,
)
from ops.settings import read_argument, read_operator_settings
from ops.waiting import poll

REPLAY, EVENTS, NAMES = Path(__file__).with_suffix(".graphql").read_text("utf-8").split("\n\n")
CALL_TIMEOUT_SECONDS = 70.0
MAX_BUSY_SECONDS, BUSY_WAIT_SECONDS = 60.0, 1.0
"""How long, and how often, to wait for another replay to end."""
SUMS = ("replayed", "changed", "returned", "arrived")
Names = Mapping[str, str]
"""Names of staff and of the customers in the report, by their ids."""
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TITLES = {
    "account": "display_name", "contact": "primary_phone", "ticket": "", "left_ticket": "", "consent": "",
}  # fmt: skip
"""The parts of an event, each with the column that names its row."""
_NOT_SHOWN = ("data.pancake.written.", "data.pancake.requests.")
"""Digests by which the program knows what it wrote, and requests, which the description shows."""
POLL_SECONDS = 1.0
MAX_SECONDS_WITHOUT_PROGRESS = 60.0
MAX_EVENTS_PER_QUERY = 1000
BALANCE = ("matched", "replayed", "remaining", "changed", "returned", "arrived", "held")


def open_engine(hasura_url: str, admin_secret: str, **options: Any) -> Engine:
    """Return a client of the engine, with the role that may replay. Raises DirectoryError.

    `script:` and the operator's login name are recorded as the caller.
    """
    role = role_of_action("pancake_replay_events")
    headers = {"X-Hasura-Role": role, "X-Hasura-User-Id": f"script:{login_name()}"}
    return Engine(hasura_url, admin_secret, headers, CALL_TIMEOUT_SECONDS, use_proxies=True, **options)


def call_action(engine: Engine, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the action's report, without the results of the rows: those are loaded later.

    While another replay runs, the call is repeated. Raises CommandFailed.
    """
    has_waited = False
    for _ in poll(MAX_BUSY_SECONDS, BUSY_WAIT_SECONDS):
        try:
            return dict(engine.graphql(REPLAY, {**request, "wait": False})["pancake_replay_events"])
        except RequestRefused as error:
            refusal = error
            if error.code != "busy":
                break
            if not has_waited:
                limit = f"{MAX_BUSY_SECONDS:.0f} s"
                say(f"Another replay is running. Waiting up to {limit} until it ends ...")
                has_waited = True
    raise CommandFailed(f"Hasura refused the replay: {refusal.reason}") from refusal


def _load_events(engine: Engine, ids: Sequence[int]) -> tuple[list[ReplayedEvent], bool]:
    data = engine.graphql(EVENTS, {"ids": list(ids)})
    events = [
        ReplayedEvent(
            id=int(row["id"]),  # text, if the engine is set to give large numbers as text
            status=row["status"],
            result=row["result"] or row["outcome"],
            error_code=row["error_code"],
            held_by=row["held_by"],
            ticket_id=row["ticket_id"],
            owner_id=row["assignee_id"],
        )
        for row in data["pancake_webhook_event"]
    ]
    return events, any(setting["processing_paused"] for setting in data["view_pancake_setting"])


def load_names(engine: Engine, ids: Sequence[str]) -> dict[str, str]:
    staff = engine.graphql(NAMES, {"ids": list(ids)})["staff"] if ids else []
    return {member["id"]: member["full_name"] for member in staff}


def drain(engine: Engine, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Call the action until the request finds no row; yield after each call the report of all so far.

    matched + arrived + returned = replayed + changed + held. Raises CommandFailed when a call moves nothing.
    """
    sums: Counter[str] = Counter()
    ids: list[int] = []
    held: int | None = None
    while held != 0:
        call = call_action(engine, request)
        # What it finds beyond the rows that the call before left has arrived in between.
        sums["matched" if held is None else "arrived"] += call["matched"] - (held or 0)
        sums.update({name: call[name] for name in SUMS})
        held = call["held"]
        ids += call["replayed_ids"]
        yield call | sums | {"replayed_ids": ids}
        if held and not call["replayed"]:
            raise CommandFailed(
                f"{held} rows are held and the last call replayed none of them. "
                "Is the kill switch on? Turn it off, then run this again."
            )


def change_blocks(item: Mapping[str, Any], staff: Names) -> Iterator[tuple[str, Changes]]:
    """Yield what an event changes: a title, and its changes."""
    names = {**_customers(item), **staff}
    for part, column in _TITLES.items():
        if change := item.get(part):
            yield _row_block(part, column, change, names)
    for change in item.get("other_contacts", ()):
        yield _row_block("other contact", "primary_phone", change, names)
    if roster := item.get("roster"):
        yield "roster", [_member(member, names) for member in roster]
    people = [("owner", None, _named(item["owner"], names))] if item.get("owner") else []
    people += [("would notify", None, _told(each, names)) for each in item.get("notifications") or ()]
    if people:
        yield "people", people


def _customers(item: Mapping[str, Any]) -> dict[str, str]:
    """Return what stands for the ids of accounts and contacts in this event."""
    return {
        row["id"]: row[_TITLES[part]]
        for part in ("account", "contact")
        for row in (item.get(part) or {}).values()
        if row and row.get("id") and row.get(_TITLES[part])
    }


def _row_block(part: str, column: str, change: Mapping[str, Any], names: Names) -> tuple[str, Changes]:
    """Return the block of a row; of a new one the values that its title does not show."""
    before, after = change["before"], change["after"]
    named = after.get(column)
    title = f"{part.replace('_', ' ')} {named}" if named else part.replace("_", " ")
    if before is not None:
        changes = [
            (_label(name), _named(old or "", names), _named(new, names))
            for name, old, new in changed_fields(before, after)
            if not name.startswith(_NOT_SHOWN)
        ]
        return title, changes
    values = [
        (_label(name), None, _named(value, names))
        for name, _, value in changed_fields({}, after)
        if name not in ("id", column) and not isinstance(after[name], Mapping)
    ]
    return f"{title}: new", values


def _member(member: Mapping[str, Any], names: Names) -> tuple[str, str | None, str]:
    fields = changed_fields(member["before"] or {}, member["after"])
    text = ", ".join(f"{name} {old} → {new}" for name, old, new in fields)
    return _named(member["after"]["staff_id"], names), None, text


def _told(notification: Mapping[str, Any], names: Names) -> str:
    recipients = ", ".join(_named(each, names) for each in notification.get("recipient_ids", ()))
    return f"{recipients}: {notification['name']}" if recipients else str(notification["name"])


def _label(path: str) -> str:
    """Return the name of a field; one that holds the id of a row is called like the row."""
    field = path.removeprefix("data.pancake.").removeprefix("pancake_metadata.")
    return field.removesuffix("_book_id").removesuffix("_id")


def _named(value: str, names: Names) -> str:
    """Return the name in place of an id; of an id without a known name its first characters."""
    if value in names:
        return names[value]
    return f"{value[:8]}…" if _UUID.fullmatch(value) else value


def follow(engine: Engine, report: dict[str, Any], progress: Progress) -> None:
    """Ask for the events until all are at rest, a pause is found, or too long none came to rest.

    The report gets the results, as far as they are known: an event whose state was not loaded is waiting.
    """
    ids: Sequence[int] = report["replayed_ids"]
    known: dict[int, ReplayedEvent] = {}
    waiting = ids
    try:
        with progress:
            task = progress.add_task("processed", total=len(ids))
            deadline = time.monotonic() + MAX_SECONDS_WITHOUT_PROGRESS
            while waiting:
                for start in range(0, len(waiting), MAX_EVENTS_PER_QUERY):
                    part = waiting[start : start + MAX_EVENTS_PER_QUERY]
                    events, report["processing_paused"] = _load_events(engine, part)
                    known |= {event.id: event for event in events}
                before, waiting = waiting, _waiting(ids, known)
                progress.update(task, completed=len(ids) - len(waiting))
                if len(waiting) < len(before):
                    deadline = time.monotonic() + MAX_SECONDS_WITHOUT_PROGRESS
                if not waiting or report["processing_paused"] or time.monotonic() > deadline:
                    return
                time.sleep(POLL_SECONDS)
    finally:
        report["results"] = count_results(known.values())
        report["results"]["waiting"] = len(_waiting(ids, known))


def _waiting(ids: Sequence[int], known: Mapping[int, ReplayedEvent]) -> list[int]:
    return [id_ for id_ in ids if id_ not in known or known[id_].is_waiting]


def print_report(report: dict[str, Any], console: Console, names: Names) -> None:
    """Print the balance, then the refused rows, then the results or the changes of a dry run."""
    console.print("  ".join(f"{name} {report[name]}" for name in BALANCE), soft_wrap=True)
    for item in report["refused"]:
        console.print(f"event {item['event_id']} refused: {item['reason']}", soft_wrap=True)
    if report["results"] is not None:
        counts = [(label, number) for label, number in _result_lines(report["results"], names) if number]
        width = max((len(label) for label, _ in counts), default=0)
        for label, number in counts:
            console.print(f"{label.ljust(width)}  {number}", soft_wrap=True, highlight=False, markup=False)
    if report["changes"]:
        _print_changes(report["changes"], console, names)


def _result_lines(results: ReplayResults, names: Names) -> Iterator[tuple[str, int]]:
    yield from results["outcomes"].items()
    yield from ((f"held again: {reason}", number) for reason, number in results["held"].items())
    yield from ((f"failed, will be retried: {code}", number) for code, number in results["failed"].items())
    yield from ((f"dead_letter: {code}", number) for code, number in results["dead_letter"].items())
    yield from ((f"owner {names.get(own['id'], own['id'])}", own["tickets"]) for own in results["owners"])
    yield "without an owner", results["unassigned"]
    yield "waiting", results["waiting"]


def _print_changes(changes: list[dict[str, Any]], console: Console, names: Names) -> None:
    """Print each event with its changes, one below the other: a table would be cut on 80 columns."""
    for item in changes:
        reasons = ": ".join(item[key] for key in ("error_code", "error_detail") if key in item)
        blocks = list(change_blocks(item, names))
        text = f"{item['result']}, {reasons}" if reasons else item["result"]
        nothing = "" if blocks or reasons else ", nothing changes"
        print_indented(f"event {item['event_id']}: {text}{nothing}", 0, console)
        for title, fields in blocks:
            print_changes(title, fields, console)
    results = Counter(item["result"] for item in changes)
    counted = ", ".join(f"{result} {number}" for result, number in sorted(results.items()))
    print_indented(f"{times(len(changes), 'event')}: {counted}", 0, console)


def replay(
    ids: Annotated[list[int] | None, typer.Argument(help="Event ids; or use the options below.")] = None,
    status: Annotated[str | None, typer.Option(help="failed, dead_letter, skipped_kill_switch …")] = None,
    error_code: Annotated[str | None, typer.Option(help="Only rows with this error code.")] = None,
    source: Annotated[str | None, typer.Option(help="Only rows of this source: its name or id.")] = None,
    day: Annotated[datetime | None, typer.Option(formats=DAY, help="Created on this day in Vietnam.")] = None,
    since: Annotated[str | None, typer.Option(help=f"Created from this day, or {AN_INSTANT}, on.")] = None,
    until: Annotated[str | None, typer.Option(help=f"The last day, or created before {AN_INSTANT}.")] = None,
    limit: Annotated[int | None, typer.Option(help="Maximum number of rows.", min=1, max=1000)] = None,
    corrected_phone: Annotated[
        str | None,
        typer.Option(help="The right phone, for one row with invalid_phone; - asks, or reads stdin."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Apply even an older or unchanged version.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    drain_all: Annotated[
        bool, typer.Option("--drain", help="Repeat until no row is held. For the statuses skipped_….")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the rows are processed; report the results.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Process events again through Hasura and report their results.

    Give ids, or a filter: --status, --error-code, --source, --day or --since. A filter without
    --status takes what is held, failed or a dead letter. Days are those of Vietnam.
    Needs HASURA_URL and HASURA_ADMIN_SECRET. Exit code 1: rows were refused or are
    left, or a replayed row is held again, failed, a dead letter or still waiting.
    """
    since, until = ends_of(day, since, until)
    criteria: dict[str, Any] = {"status": status, "error_code": error_code, "source_id": source}
    criteria |= {"from": since, "to": until, "limit": limit}
    given = {name: value for name, value in criteria.items() if value is not None}
    request: dict[str, Any] = {"ids": ids} if ids else {"filter": given}
    phone = corrected_phone and read_argument(corrected_phone, "Corrected phone")
    request |= {"corrected_phone": phone, "force": force, "dry_run": dry_run}
    _check(request, bool(ids and given), drain_all)
    settings = read_operator_settings("HASURA_URL", "HASURA_ADMIN_SECRET")
    with open_engine(settings.hasura_url, settings.hasura_admin_secret) as engine:
        if drain_all:
            report = _drain(engine, request, wait=wait, as_json=as_json)
        else:
            with show_activity("replaying"):
                report = call_action(engine, request)
            _finish(engine, report, wait=wait and not dry_run, as_json=as_json)
    results = report["results"] or {}
    is_unprocessed = any(results.get(name) for name in ("held", "failed", "dead_letter", "waiting"))
    fail_if(report["refused"] or (report["remaining"] and not dry_run) or is_unprocessed)


def _drain(engine: Engine, request: dict[str, Any], *, wait: bool, as_json: bool) -> dict[str, Any]:
    """Drain and show the report, also that of a drain that failed or was interrupted on its way."""
    report: dict[str, Any] = {}
    try:
        with progress_bar() as progress:
            task = progress.add_task("replayed", total=None)
            for report in drain(engine, request):
                replayed = report["replayed"]
                progress.update(task, completed=replayed, total=replayed + report["held"])
    except (CommandFailed, IntegrationError, KeyboardInterrupt) as error:
        if report:
            _finish(engine, report, wait=wait and isinstance(error, CommandFailed), as_json=as_json)
        raise
    _finish(engine, report, wait=wait, as_json=as_json)
    return report


def _finish(engine: Engine, report: dict[str, Any], *, wait: bool, as_json: bool) -> None:
    """Show the report: with the results of the rows, if they are waited for.

    If a question fails or is interrupted, what is known is shown: the rows are replayed all the same.
    """
    report["results"] = None
    names: dict[str, str] = {}
    try:
        if wait:
            follow(engine, report, progress_bar())
        if not as_json:
            # Any id may be one of staff: owners, members of rosters, recipients.
            ids = set(_UUID.findall(json.dumps([report["changes"], report["results"]])))
            names = load_names(engine, sorted(ids))
    finally:
        print_result(report, lambda: print_report(report, ForeignTextConsole(), names), as_json=as_json)
        if reason := _describe_waiting(report):
            say(reason)


def _describe_waiting(report: dict[str, Any]) -> str:
    waiting = report["results"]["waiting"] if report["results"] else 0
    if report["processing_paused"] and report["replayed"] and (waiting or report["results"] is None):
        rows = times(waiting, "row waits", "rows wait") if waiting else "The rows wait"
        return (
            f"{rows} because processing is paused (setting processing_paused).\n"
            "They are processed when the pause ends: do not replay them again."
        )
    if waiting:
        return (
            f"{times(waiting, 'row still waits', 'rows still wait')} to be processed. "
            "They stay in the queue: do not replay them again.\nLook at them later in Settings, Events."
        )
    return ""


def _check(request: dict[str, Any], has_ids_and_filter: bool, drain_all: bool) -> None:
    """Check the request as the action does. Raises WrongUsage."""
    if has_ids_and_filter:
        raise WrongUsage("Give either ids or a filter, not both.")
    if "filter" in request and not request["filter"].keys() & {"status", "error_code", "source_id", "from"}:
        raise WrongUsage("Give event ids, or --status, --error-code, --source, --day or --since.")
    if drain_all:
        status = request.get("filter", {}).get("status") or ""
        if request["dry_run"] or request["force"] or not status.startswith("skipped_"):
            raise WrongUsage(
                "--drain is for --status skipped_kill_switch or skipped_source_disabled, "
                "without --dry-run and --force."
            )
    try:
        read_request(request, {})
    except BadRequest as error:
        raise WrongUsage(str(error)) from error

"""Layer 3: compare every record of a closed day with our rows by identity, insert what is missing, report.

Called by: cron trigger `pancake_reconcile_daily`, daily at 19:00 UTC (02:00 in Vietnam); `leads reconcile`
reckons any day by the same functions.
"""

from datetime import date, datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from leads.adapters.hasura_calls import CronCall
from leads.adapters.pancake_api import COMPLETE
from leads.domain import coverage
from leads.domain.day_ledger import Reckoning
from leads.domain.errors import BadRequest
from leads.domain.listing import delivery_columns, listed, modified_on
from leads.domain.window import day_window, days_owed
from leads.services.connections import Connection, for_each, load_connections, problems
from leads.services.cron_runs import Notice, Report, Run
from leads.services.pancake_lists import PAUSED, Layer, look_up, walk
from leads.services.runtime import Answer, Runtime

SECONDS = 250
MAX_PAGES = 50_000
MAX_LOOK_UPS = 100
FOUND_MISSING_LIMIT = 5
"""So many records a day that only this layer found are worth a notification."""


async def reconcile_daily(on: Runtime, call: CronCall) -> Answer:
    """Answers `{result, report}`; the report holds the ledger of each day, and which days are closed."""
    return await on.register.run(call, partial(reconcile_owed, on), seconds=SECONDS)


async def reconcile_owed(on: Runtime, run: Run) -> Report:
    """Every closed day without a succeeded run since the connection exists, at most 14 back, oldest first."""
    tick = {"now": run.now, "scheduled_time": run.scheduled_time}
    row = await on.db.fetch_one("reconcile_daily/list_closed_days", tick) or {}
    owed = _asked(run) or days_owed(run.now, {date.fromisoformat(text) for text in row["days"]})
    since = {i: datetime.fromisoformat(text) for i, text in row["since"].items()}
    connections = await load_connections(on.db, on.settings.key_ring)
    reports: list[dict[str, Any]] = []
    closed: list[str] = []
    for day in owed:
        existing = [c for c in connections if since[c.id] <= day_window(day).end]
        if not existing:
            continue
        found = await for_each(existing, partial(reconcile_day, on, run, day))
        reports += found
        if any(report.get("ending") == PAUSED for report in found):
            break
        if problems(found) is None:
            closed.append(day.isoformat())
    return _report(reports, closed)


async def reconcile_day(
    on: Runtime, run: Run, day: date, connection: Connection, *, dry_run: bool = False
) -> dict[str, Any]:
    """The ledger of one day of one connection. Raises PancakeUnavailable or PancakeRefused."""
    state = run.state.setdefault(f"{day}/{connection.id}", {})
    if "report" in state:
        return dict(state["report"])
    reckoning = Reckoning(day, state)
    started = on.clock.monotonic()
    ending = await walk(
        on.pancake,
        connection,
        reckoning.window.record_filter(),
        state,
        partial(_on_entries, on, run, connection, reckoning, dry_run),
        time_left=run.time_left,
        max_pages=MAX_PAGES,
    )
    state["seconds"] = round(state.get("seconds", 0) + on.clock.monotonic() - started, 1)
    if ending == PAUSED:
        return {"day": day.isoformat(), "ending": PAUSED}
    report = await _close(on, connection, reckoning, ending)
    reckoning.begin_anew()
    if "error" not in report:
        state["report"] = report
    return report


async def _on_entries(
    on: Runtime,
    run: Run,
    connection: Connection,
    reckoning: Reckoning,
    dry_run: bool,
    table: str,
    entries: list[dict[str, Any]],
) -> None:
    """Enter some pages into the ledger, and store what is missing."""
    items = reckoning.select(listed(entries, ZoneInfo(connection.zone)))
    if not items:
        return
    asked = coverage.asked_of(items, connection.id)
    ours = coverage.stored_of(await on.db.fetch_all("pancake_lists/load_events", asked))
    inserted: dict[str, str] = {}
    if not dry_run and coverage.missing(items, ours):
        columns = partial(delivery_columns, connection.id, table, "reconcile", run.now)
        pairs = await Layer(on.db, columns).store(asked, partial(coverage.missing_of, items))
        inserted = {item.record_id: row["status"] for item, row in pairs if row["status"] != "duplicate"}
        on.metrics.webhook_missed.labels("reconcile").inc(len(inserted))
        # Webhook or polling may have been quicker.
        ours = coverage.stored_of(await on.db.fetch_all("pancake_lists/load_events", asked))
    reckoning.enter(items, ours, inserted)


async def _close(on: Runtime, connection: Connection, reckoning: Reckoning, ending: str) -> dict[str, Any]:
    """The day's report: also which of our records are not listed, and which layer saw records first."""
    bounds = reckoning.window.bounds() | {"connection_id": connection.id, "tables": list(connection.tables)}
    ours = await on.db.fetch_one("reconcile_daily/compare_day", bounds | {"seen": list(reckoning.seen)}) or {}
    strangers = {row["record_id"]: row["table_name"] for row in ours["strangers"][:MAX_LOOK_UPS]}
    present = await look_up(on.pancake, connection, strangers)
    zone = ZoneInfo(connection.zone)
    report = reckoning.report(ours, [*strangers], {i: modified_on(r, zone) for i, r in present.items()})
    report["ending"] = ending
    rows = await on.db.fetch_all("reconcile_daily/count_first_seen", bounds)
    report["first_seen"] = {row["origin"]: row["records"] for row in rows}
    total = sum(report["first_seen"].values())
    report["webhook_loss"] = round(1 - report["first_seen"].get("webhook", 0) / total, 4) if total else 0.0
    if ending != COMPLETE or report["unlisted"]:
        detail = f"{reckoning.day}: the list ended with {ending}, {len(report['unlisted'])} records unlisted"
        report |= {"error": "list_incomplete", "detail": detail}
    return report


def _asked(run: Run) -> list[date]:
    """The day that the tick's payload names (`{"day": "2026-05-14"}`), if any. Raises BadRequest."""
    if "day" not in run.payload:
        return []
    try:
        return [date.fromisoformat(run.payload["day"])]
    except (TypeError, ValueError) as error:
        raise BadRequest("payload.day is not a date.") from error


def _report(reports: list[dict[str, Any]], closed: list[str]) -> Report:
    days = [day_window(date.fromisoformat(report["day"])) for report in reports if "day" in report]
    return Report(
        {"days": reports, "closed_days": closed},
        window=(min((d.start for d in days), default=None), max((d.end for d in days), default=None)),
        notices=tuple(notice for report in reports for notice in _notices(report)),
        problem=problems(reports),
        unfinished=any(report.get("ending") == PAUSED for report in reports),
    )


def _notices(report: dict[str, Any]) -> list[Notice]:
    """Tell of a day on which the other layers missed much, or on which something could not be stored."""
    found, left = len(report.get("found_missing", ())), len(report.get("left_missing", ()))
    if found < FOUND_MISSING_LIMIT and not left:
        return []
    key = f"reconciliation_miss:{report['connection_id']}:{report['day']}"
    detail = f"{report['day']}: {found} found missing, {left} left missing"
    return [Notice(key, "reconciliation_miss", detail)]

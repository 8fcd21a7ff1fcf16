"""Layer 3: compare every record of each closed day with the stored events, insert what is missing, report.

Called by: cron trigger `pancake_reconcile_daily`, daily at 19:00 UTC (02:00 in Vietnam). The operators' command
`reconcile` runs `reconcile_owed` or `reconcile_day` for one day.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import TypedDict, cast

from leads.adapters.database import Database, Params
from leads.adapters.hasura_calls import CronCall
from leads.adapters.http import Answer
from leads.adapters.pancake_api import COMPLETE
from leads.domain import coverage
from leads.domain.day_ledger import DayLedger, DayReport
from leads.domain.errors import BadRequest
from leads.domain.listing import ListedLead
from leads.domain.window import day_window, days_owed
from leads.services.connections import Connection, ConnectionReport, for_each, load_connections, problems
from leads.services.cron_runs import AdminNotice, CronReport, CronRun
from leads.services.pancake_lists import PAUSED, load_events, look_up_times, read_pages, store_missing
from leads.services.runtime import Runtime

BUDGET_SECONDS = 250
MAX_PAGES_PER_DAY = 50_000
MAX_LOOK_UPS = 100
MIN_FOUND_MISSING_NOTIFIED = 5
"""How many records that webhook and polling missed on a day are worth a notification."""


class DayOfConnection(ConnectionReport, DayReport, total=False):
    """The report of one day of one connection; without the ledger while it is paused or if it failed."""

    ending: str
    first_seen: dict[str, int]
    webhook_loss: float


class Stranger(TypedDict):
    """A stored record of the day that the list did not show."""

    record_id: str
    table_name: str | None


@dataclass(frozen=True, slots=True)
class DayComparison:
    """The row of reconcile_daily/compare_day."""

    superseded: int
    strangers: list[Stranger]


@dataclass(frozen=True, slots=True)
class ClosedDays:
    """The row of reconcile_daily/list_closed_days. `since` maps a connection's id to when it was created."""

    days: list[str]
    since: dict[str, str]


@dataclass(frozen=True, slots=True)
class FirstSeen:
    """A row of reconcile_daily/count_first_seen."""

    origin: str
    records: int


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A row of reconcile_daily/load_reports."""

    report: DayOfConnection


async def reconcile_daily(runtime: Runtime, call: CronCall) -> Answer:
    """Answer `{result, report}`; the report holds the ledger of each day, and which days are closed."""
    return await runtime.cron_runs.run(call, partial(reconcile_owed, runtime), budget_seconds=BUDGET_SECONDS)


async def reconcile_owed(runtime: Runtime, run: CronRun) -> CronReport:
    """Reconcile the days without a succeeded run since the connection exists, oldest first."""
    tick = {"now": run.now, "scheduled_time": run.scheduled_time}
    (closed_before,) = await runtime.db.fetch_all("reconcile_daily/list_closed_days", tick, ClosedDays)
    connections = await load_connections(runtime.db, runtime.settings.key_ring)
    since = {i: datetime.fromisoformat(text) for i, text in closed_before.since.items()}

    reports: list[DayOfConnection] = []
    closed: list[str] = []
    for day in _requested(run) or days_owed(
        run.now, {date.fromisoformat(text) for text in closed_before.days}
    ):
        existing = [each for each in connections if since[each.id] <= day_window(day).end]
        if not existing:
            continue
        of_day = await for_each(existing, partial(reconcile_day, runtime, run, day))
        reports += of_day
        if any(report.get("ending") == PAUSED for report in of_day):
            break
        if problems(of_day) is None:
            closed.append(day.isoformat())
    return _report(reports, closed)


async def reconcile_day(
    runtime: Runtime, run: CronRun, day: date, connection: Connection, *, dry_run: bool = False
) -> DayOfConnection:
    """Reconcile one day of one connection. Raises PancakeUnavailable or PancakeRefused."""
    key = f"{day}/{connection.id}"
    saved = run.state.get(key, {})
    if "report" in saved:
        return cast(DayOfConnection, saved["report"])
    ledger = DayLedger.load(day, saved) if saved else DayLedger(day)

    started = runtime.clock.monotonic()
    try:
        ending = await read_pages(
            runtime.pancake,
            connection,
            ledger.window,
            ledger.position,
            partial(_enter_leads, runtime, run, connection, ledger, dry_run),
            seconds_left=run.seconds_left,
            max_pages=MAX_PAGES_PER_DAY,
        )
    finally:
        ledger.add_seconds(runtime.clock.monotonic() - started)
        run.state[key] = ledger.save()
    if ending == PAUSED:
        return {"connection_id": connection.id, "day": day.isoformat(), "ending": PAUSED}

    report = await _close(runtime, connection, ledger, ending)
    run.state[key] = ledger.restart().save() if "error" in report else {"report": report}
    return report


async def load_reports(db: Database, day: date) -> list[DayOfConnection]:
    """Load the newest stored report of a day, of each connection."""
    rows = await db.fetch_all("reconcile_daily/load_reports", {"day": day.isoformat()}, StoredReport)
    return [row.report for row in rows]


async def _enter_leads(
    runtime: Runtime,
    run: CronRun,
    connection: Connection,
    ledger: DayLedger,
    dry_run: bool,
    table: str,
    leads: list[ListedLead],
) -> None:
    """Enter some pages into the ledger, and store what is missing."""
    selected = ledger.select(leads)
    if not selected:
        return
    events = await load_events(runtime.db, connection, selected)
    added: set[str] = set()
    if not dry_run and coverage.missing(selected, events):
        stored = await store_missing(runtime.db, connection, table, selected, "reconcile", run.now)
        added = {lead.record_id for lead, _ in stored}
        runtime.metrics.webhook_missed.labels("reconcile").inc(len(added))
        # Webhook or polling may have stored some of them in the meantime.
        events = await load_events(runtime.db, connection, selected)
    ledger.enter(selected, events, added)


async def _close(runtime: Runtime, connection: Connection, ledger: DayLedger, ending: str) -> DayOfConnection:
    """Return the day's report, with the stored records that were not listed and the origin of all records."""
    params = _day_params(connection, ledger)
    (comparison,) = await runtime.db.fetch_all(
        "reconcile_daily/compare_day", {**params, "seen": list(ledger.seen)}, DayComparison
    )
    looked_up = {each["record_id"]: each["table_name"] for each in comparison.strangers[:MAX_LOOK_UPS]}
    present = await look_up_times(runtime.pancake, connection, looked_up)
    origins = await runtime.db.fetch_all("reconcile_daily/count_first_seen", params, FirstSeen)

    first_seen = {row.origin: row.records for row in origins}
    records = sum(first_seen.values())
    report: DayOfConnection = {
        "connection_id": connection.id,
        **ledger.report(
            superseded=comparison.superseded,
            looked_up=list(looked_up),
            not_looked_up=len(comparison.strangers) - len(looked_up),
            present=present,
        ),
        "ending": ending,
        "first_seen": first_seen,
        "webhook_loss": round(1 - first_seen.get("webhook", 0) / records, 4) if records else 0.0,
    }
    if ending != COMPLETE or report["unlisted"]:
        report["error"] = "list_incomplete"
        report["detail"] = (
            f"{ledger.day}: the list ended with {ending}, {len(report['unlisted'])} records unlisted"
        )
    return report


def _day_params(connection: Connection, ledger: DayLedger) -> Params:
    return {
        "connection_id": connection.id,
        "tables": list(connection.tables),
        "window_from": ledger.window.start,
        "window_to": ledger.window.end,
    }


def _requested(run: CronRun) -> list[date]:
    """Return the day that the tick's payload names (`{"day": "2026-05-14"}`), if any. Raises BadRequest."""
    if "day" not in run.payload:
        return []
    try:
        return [date.fromisoformat(run.payload["day"])]
    except (TypeError, ValueError) as error:
        raise BadRequest("payload.day is not a date.") from error


def _report(reports: Sequence[DayOfConnection], closed: Sequence[str]) -> CronReport:
    days = [day_window(date.fromisoformat(report["day"])) for report in reports if "day" in report]
    return CronReport(
        {"days": reports, "closed_days": closed},
        window=(min((day.start for day in days), default=None), max((day.end for day in days), default=None)),
        notices=tuple(notice for report in reports for notice in _notices(report)),
        problem=problems(reports),
        unfinished=any(report.get("ending") == PAUSED for report in reports),
    )


def _notices(report: DayOfConnection) -> list[AdminNotice]:
    """Tell of a day on which webhook and polling missed much, or on which a record could not be stored."""
    found, left = len(report.get("found_missing", ())), len(report.get("left_missing", ()))
    if found < MIN_FOUND_MISSING_NOTIFIED and not left:
        return []
    return [
        AdminNotice(
            key=f"reconciliation_miss:{report['connection_id']}:{report['day']}",
            reason="reconciliation_miss",
            detail=f"{report['day']}: {found} found missing, {left} left missing",
        )
    ]

"""Reconcile days for all connections, and load what earlier runs stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial

from leads.adapters.database import Database
from leads.domain.day_ledger import DayReport, day_window
from leads.runtime import Runtime
from leads.services.connections import for_each, load_connections, problems
from leads.services.cron_work import AdminNotice, CronReport, CronRun
from leads.services.reconcile_daily.day import part_of, reconcile_day

MIN_FOUND_MISSING_NOTIFIED = 5
"""How many records that webhook and polling missed on a day are worth a notification."""


@dataclass(frozen=True, slots=True)
class History:
    """The days that other runs closed, and when each connection was created, by its id."""

    closed_days: frozenset[date]
    created_at: Mapping[str, datetime]


@dataclass(frozen=True, slots=True)
class _HistoryRow:
    """The row of reconcile_daily/list_closed_days; `since` maps a connection's id to an ISO time."""

    days: list[str]
    since: dict[str, str]


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A row of reconcile_daily/load_reports."""

    report: DayReport


@dataclass(frozen=True, slots=True)
class _UnfinishedRun:
    """The row of reconcile_daily/load_unfinished."""

    scheduled_time: datetime


async def load_history(db: Database, run: CronRun) -> History:
    """Load what decides which days are owed. This run's own days are in its state."""
    params = {"now": run.now, "scheduled_time": run.scheduled_time}
    (row,) = await db.fetch_all("reconcile_daily/list_closed_days", params, _HistoryRow)
    return History(
        closed_days=frozenset(date.fromisoformat(text) for text in row.days),
        created_at={connection_id: datetime.fromisoformat(text) for connection_id, text in row.since.items()},
    )


async def load_reports(db: Database, day: date) -> list[DayReport]:
    """Load the newest stored report of a day, of each connection."""
    rows = await db.fetch_all("reconcile_daily/load_reports", {"day": day.isoformat()}, StoredReport)
    return [row.report for row in rows]


async def unfinished_since(db: Database, now: datetime) -> datetime | None:
    """Return the scheduled time of the run that waits for its next delivery, if there is one.

    Another run that began now would continue with its progress, in its place.
    """
    run = await db.fetch_one("reconcile_daily/load_unfinished", {"now": now}, _UnfinishedRun)
    return run.scheduled_time if run else None


async def reconcile_days(
    runtime: Runtime, run: CronRun, days: Sequence[date], created_at: Mapping[str, datetime]
) -> CronReport:
    """Reconcile days one after the other, each for the connections that existed on it.

    A connection that `created_at` does not name was created after it was read.
    """
    connections = await load_connections(runtime.db, runtime.settings.key_ring)
    reports: list[DayReport] = []
    closed: list[str] = []
    names = {each.id: each.name for each in connections}
    for day in days:
        end = day_window(day).end
        existing = [each for each in connections if each.id in created_at and created_at[each.id] <= end]
        work = partial(reconcile_day, runtime, run, day, dry_run=run.is_dry_run)
        of_day, is_complete = await for_each(run, existing, work, part=part_of(day))
        reports += of_day
        if not is_complete:
            return _report(names, reports, closed, unfinished=True)
        if existing and problems(of_day) is None:
            closed.append(day.isoformat())
    return _report(names, reports, closed)


def _report(
    names: Mapping[str, str], reports: Sequence[DayReport], closed: Sequence[str], *, unfinished: bool = False
) -> CronReport:
    """Put the reports together; `names` are those of the connections, by id."""
    days = [day_window(date.fromisoformat(report["day"])) for report in reports if "day" in report]
    return CronReport(
        {"days": reports, "closed_days": closed},
        window=(min((day.start for day in days), default=None), max((day.end for day in days), default=None)),
        notices=tuple(notice for report in reports for notice in _notices(names, report)),
        problem=problems(reports),
        unfinished=unfinished,
    )


def _notices(names: Mapping[str, str], report: DayReport) -> list[AdminNotice]:
    """Notify of a day on which webhook and polling missed many records, or a record could not be stored."""
    found, left = len(report.get("found_missing", ())), len(report.get("left_missing", ()))
    if found < MIN_FOUND_MISSING_NOTIFIED and not left:
        return []
    return [
        AdminNotice(
            key=f"reconciliation_miss:{report['connection_id']}:{report['day']}",
            reason="reconciliation_miss",
            detail=f"{report['day']}: {found} found missing, {left} left missing",
            facts={
                "connection": names[report["connection_id"]],
                "day": report["day"],
                "found": str(found),
                "left": str(left),
            },
        )
    ]

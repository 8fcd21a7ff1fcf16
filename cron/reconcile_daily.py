"""Layer 3: compare every record of each closed day with the stored events, insert what is missing, report.

Of each connection the list of the day is read, what is missing is stored, and the day's ledger is filled.

Called by: cron trigger `pancake_reconcile_daily`, daily at 19:00 UTC (02:00 in Vietnam); `leads reconcile`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import partial

from leads.adapters.database import Params
from leads.adapters.pancake_api import COMPLETE
from leads.domain.day_ledger import DayLedger, DayReport, SavedLedger, day_window, days_owed, is_over
from leads.domain.errors import BadRequest
from leads.domain.listing import ListedLead, TableRecord, not_covered
from leads.domain.versions import MAX_FUTURE
from leads.runtime import Runtime
from leads.services.connections import Connection, load_connections
from leads.services.cron_work import OUT_OF_TIME, AdminNotice, CronReport, CronRun, for_each, problems
from leads.services.missing_leads import load_events, look_up_times, read_pages, store_missing

MAX_PAGES_PER_DAY = 50_000
MAX_LOOK_UPS = 100
MIN_FOUND_MISSING_NOTIFIED = 5
"""How many records that webhook and polling missed on a day are worth a notification."""


async def reconcile_daily(runtime: Runtime, run: CronRun) -> CronReport:
    """Reconcile the day that the payload names, else each closed day without a succeeded run.

    A day is reconciled for the connections that existed on it. One that the history does not name was
    created after it was read.
    """
    requested = _requested(run)
    params = {"now": run.now, "scheduled_time": run.scheduled_time}
    (history,) = await runtime.db.fetch_all("reconcile_daily/list_closed_days", params)
    closed_before = frozenset(date.fromisoformat(text) for text in history["days"])
    created_at = {id_: datetime.fromisoformat(text) for id_, text in history["since"].items()}
    connections = await load_connections(runtime.db, runtime.settings.key_ring)
    names = {each.id: each.name for each in connections}
    reports: list[DayReport] = []
    closed: list[str] = []
    for day in requested or days_owed(run.now, closed_before):
        end = day_window(day).end
        existing = [each for each in connections if each.id in created_at and created_at[each.id] <= end]
        work = partial(reconcile_day, runtime, run, day)
        of_day, is_complete = await for_each(run, existing, work, part=f"{day}/")
        reports += of_day
        if not is_complete:
            return _report(names, reports, closed, unfinished=True)
        if existing and problems(of_day) is None:
            closed.append(day.isoformat())
    return _report(names, reports, closed)


async def reconcile_day(runtime: Runtime, run: CronRun, day: date, connection: Connection) -> DayReport:
    """Reconcile one day of one connection. Raises PancakeUnavailable or PancakeRefused."""
    key = f"{day}/{connection.id}"
    saved = run.saved(key, SavedLedger)
    ledger = DayLedger.load(day, saved) if saved else DayLedger(day)

    started, pages = runtime.clock.monotonic(), ledger.position.pages
    try:
        ending = await read_pages(
            runtime.pancake,
            connection,
            ledger.window,
            ledger.position,
            partial(_enter_leads, runtime, run, connection, ledger),
            seconds_left=run.seconds_left,
            max_pages=MAX_PAGES_PER_DAY,
        )
        report = None if ending == OUT_OF_TIME else await _close(runtime, run, connection, ledger, ending)
    finally:
        if ledger.position.pages > pages:  # else the progress would change though nothing was done
            ledger.add_seconds(runtime.clock.monotonic() - started)
        run.progress[key] = ledger.save()

    if report is None:
        return {"day": day.isoformat(), "ending": OUT_OF_TIME}
    if "error" in report:
        run.progress[key] = ledger.restart().save()
    else:
        del run.progress[key]
    return report


async def _enter_leads(
    runtime: Runtime, run: CronRun, connection: Connection, ledger: DayLedger, leads: list[ListedLead]
) -> None:
    """Enter some pages into the ledger, and store what is missing; a dry run stores nothing."""
    selection = ledger.select(leads)
    selected = selection.leads
    events = await load_events(runtime.db, connection, selected)
    added: set[TableRecord] = set()
    missing = not_covered(selected, events)
    if missing and not run.is_dry_run:
        stored = await store_missing(runtime.db, connection, missing, "reconcile", run.now, runtime.digester)
        added = {lead.key for lead, _ in stored}
        runtime.metrics.webhook_missed.labels("reconcile").inc(len(added))
        # Webhook or polling may have stored some of them in the meantime.
        events = await load_events(runtime.db, connection, selected)
    ledger.enter(selection, events, added)


async def _close(
    runtime: Runtime, run: CronRun, connection: Connection, ledger: DayLedger, ending: str
) -> DayReport | None:
    """Return the day's report, with the stored records that were not listed and the origin of all.

    None if there was no time left to look up all that were not listed. The next call has the comparison.
    """
    params: Params = {
        "connection_id": connection.id,
        "tables": list(connection.tables),
        "window_from": ledger.window.start,
        "window_to": ledger.window.end,
    }
    if ledger.comparison is None:
        # As JSON: psycopg takes six times the memory for an array of so many ids.
        seen = json.dumps({table_name: list(ids) for table_name, ids in ledger.seen.items()})
        compared = {**params, "seen": seen, "max_future": MAX_FUTURE}
        (row,) = await runtime.db.fetch_all("reconcile_daily/compare_day", compared)
        unlisted = [(each["table_name"], each["record_id"]) for each in row["unlisted"]]
        kept, more = unlisted[:MAX_LOOK_UPS], len(unlisted[MAX_LOOK_UPS:])
        ledger.comparison = {"superseded": row["superseded"], "unlisted": kept, "not_looked_up": more}
    looked_up = [TableRecord(*key) for key in ledger.comparison["unlisted"]]
    is_complete = await look_up_times(
        runtime.pancake, connection, looked_up, ledger.look_ups, seconds_left=run.seconds_left
    )
    if not is_complete:
        return None
    origins = await runtime.db.fetch_all("reconcile_daily/count_first_seen", params)

    first_seen = {row["origin"]: row["records"] for row in origins}
    records = sum(first_seen.values())
    report = ledger.report(ledger.comparison)
    report["ending"] = ending
    report["first_seen"] = first_seen
    report["webhook_loss"] = round(1 - first_seen.get("webhook", 0) / records, 4) if records else 0.0
    if ending != COMPLETE or report["unlisted"]:
        report["error"] = "list_incomplete"
        report["detail"] = (
            f"{ledger.day}: the list ended with {ending}, {len(report['unlisted'])} records unlisted"
        )
    return report


def _requested(run: CronRun) -> list[date]:
    """Return the day that the tick's payload names (`{"day": "2026-05-14"}`), if any. Raises BadRequest."""
    if "day" not in run.payload:
        return []
    day = run.payload["day"]
    if not isinstance(day, str):
        raise BadRequest("payload.day is not a date.")
    try:
        requested = date.fromisoformat(day)
        day_window(requested)  # 0001-01-01 in Vietnam begins in a year that UTC lacks here
    except (ValueError, OverflowError) as error:
        raise BadRequest("payload.day is not a date.") from error
    if not is_over(requested, run.now):
        raise BadRequest("payload.day is not over yet in Vietnam.")
    return [requested]


def _report(
    names: Mapping[str, str], reports: Sequence[DayReport], closed: Sequence[str], *, unfinished: bool = False
) -> CronReport:
    """Put the reports together; `names` are those of the connections, by id."""
    days = [day_window(date.fromisoformat(report["day"])) for report in reports if "day" in report]
    return CronReport(
        {"days": reports, "closed_days": closed},
        window=(min((day.start for day in days), default=None), max((day.end for day in days), default=None)),
        notices=tuple(_notices(names, reports)),
        problem=problems(reports),
        unfinished=unfinished,
    )


def _notices(names: Mapping[str, str], reports: Sequence[DayReport]) -> Iterator[AdminNotice]:
    """Notify of a day on which webhook and polling missed many records, or a record could not be stored."""
    for report in reports:
        found, left = len(report.get("found_missing", ())), len(report.get("left_missing", ()))
        if found >= MIN_FOUND_MISSING_NOTIFIED or left:
            facts = {"day": report["day"], "found": str(found), "left": str(left)}
            yield AdminNotice(
                key=f"reconciliation_miss:{report['connection_id']}:{report['day']}",
                reason="reconciliation_miss",
                detail=f"{report['day']}: {found} found missing, {left} left missing",
                facts={"connection": names[report["connection_id"]], **facts},
            )

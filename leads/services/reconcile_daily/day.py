"""Reconcile one day of one connection: read its list, store what is missing, fill the ledger."""

import json
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import TypedDict

from leads.adapters.database import Params
from leads.adapters.pancake_api import COMPLETE
from leads.domain.day_ledger import DayLedger, DayReport, SavedLedger
from leads.domain.listing import ListedLead, TableRecord, not_covered
from leads.domain.versions import MAX_FUTURE
from leads.runtime import Runtime
from leads.services.connections import Connection
from leads.services.cron_work import OUT_OF_TIME, CronRun
from leads.services.pancake_lists import load_events, look_up_times, read_pages, store_missing

MAX_PAGES_PER_DAY = 50_000
MAX_LOOK_UPS = 100


class UnlistedRecord(TypedDict):
    """A stored record of the day that the list did not show."""

    record_id: str
    table_name: str | None


@dataclass(frozen=True, slots=True)
class DayComparison:
    """The row of reconcile_daily/compare_day."""

    superseded: int
    unlisted: list[UnlistedRecord]


@dataclass(frozen=True, slots=True)
class FirstSeen:
    """A row of reconcile_daily/count_first_seen."""

    origin: str
    records: int


async def reconcile_day(
    runtime: Runtime, run: CronRun, day: date, connection: Connection, *, dry_run: bool = False
) -> DayReport:
    """Reconcile one day of one connection. Raises PancakeUnavailable or PancakeRefused."""
    key = part_of(day) + connection.id
    saved = run.saved(key, SavedLedger)
    ledger = DayLedger.load(day, saved) if saved else DayLedger(day)

    started, pages = runtime.clock.monotonic(), ledger.position.pages
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
        report = None if ending == OUT_OF_TIME else await _close(runtime, run, connection, ledger, ending)
    finally:
        if ledger.position.pages > pages:  # else the state would change though nothing was done
            ledger.add_seconds(runtime.clock.monotonic() - started)
        run.progress[key] = ledger.save()

    if report is None:
        return {"day": day.isoformat(), "ending": OUT_OF_TIME}
    if "error" in report:
        run.progress[key] = ledger.restart().save()
    else:
        del run.progress[key]
    return report


def part_of(day: date) -> str:
    """Return what tells the progress and the reports of one day from those of others, in a run's state."""
    return f"{day}/"


async def _enter_leads(
    runtime: Runtime,
    run: CronRun,
    connection: Connection,
    ledger: DayLedger,
    dry_run: bool,
    leads: list[ListedLead],
) -> None:
    """Enter some pages into the ledger, and store what is missing."""
    selection = ledger.select(leads)
    selected = selection.leads
    events = await load_events(runtime.db, connection, selected) if selected else {}
    added: set[TableRecord] = set()
    if not dry_run and not_covered(selected, events):
        stored = await store_missing(runtime.db, connection, selected, "reconcile", run.now, runtime.digester)
        added = {lead.key for lead, _ in stored}
        runtime.metrics.webhook_missed.labels("reconcile").inc(len(added))
        # Webhook or polling may have stored some of them in the meantime.
        events = await load_events(runtime.db, connection, selected)
    ledger.enter(selection, events, added)


async def _close(
    runtime: Runtime, run: CronRun, connection: Connection, ledger: DayLedger, ending: str
) -> DayReport | None:
    """Return the day's report, with the stored records that were not listed and the origin of all records.

    None if there was no time left to look up all of the records that were not listed.
    """
    params = _day_params(connection, ledger)
    # As JSON: psycopg takes six times the memory for an array of so many ids.
    seen = json.dumps({table_name: list(ids) for table_name, ids in ledger.seen.items()})
    (comparison,) = await runtime.db.fetch_all(
        "reconcile_daily/compare_day",
        {
            **params,
            "seen": seen,
            "max_future": MAX_FUTURE,
        },
        DayComparison,
    )
    looked_up = [
        TableRecord(each["table_name"], each["record_id"]) for each in comparison.unlisted[:MAX_LOOK_UPS]
    ]
    is_complete = await look_up_times(
        runtime.pancake, connection, looked_up, ledger.look_ups, seconds_left=run.seconds_left
    )
    if not is_complete:
        return None
    origins = await runtime.db.fetch_all("reconcile_daily/count_first_seen", params, FirstSeen)

    first_seen = {row.origin: row.records for row in origins}
    records = sum(first_seen.values())
    report = ledger.report(
        superseded=comparison.superseded,
        looked_up=looked_up,
        not_looked_up=len(comparison.unlisted) - len(looked_up),
    )
    report["ending"] = ending
    report["first_seen"] = first_seen
    report["webhook_loss"] = round(1 - first_seen.get("webhook", 0) / records, 4) if records else 0.0
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

"""Empty old bodies, delete old cron runs and old logs of the engine: in batches, only what is finished.

Called by: cron trigger `pancake_purge_events`, daily at 20:30 UTC (03:30 in Vietnam).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from leads.adapters.database import Database, Params
from leads.adapters.hasura_calls import CronCall
from leads.adapters.http import Answer
from leads.services.cron_runs import CRONS, CronReport, CronRun
from leads.services.runtime import Runtime

STOP_AFTER_SECONDS = 100
ROWS_PER_BATCH = 1000
FIRST_PURGE_FROM = datetime(2000, 1, 1, tzinfo=UTC)
OVERLAP = timedelta(days=2)
"""How far a purge starts before the end of the last one: rows unfinished then are finished by now."""


@dataclass(frozen=True, slots=True)
class Retention:
    """The row of purge_events/load_retention. `emptied_to`: up to where the last purge emptied payloads."""

    payload_days: int
    run_days: int
    log_days: int
    emptied_to: datetime | None


@dataclass(frozen=True, slots=True)
class Purge:
    """One kind of old rows. `counter` is the name of its count in the report and in the run's state."""

    counter: str
    db: Database
    statement: str
    params: Params


async def purge_events(runtime: Runtime, call: CronCall) -> Answer:
    """Answer `{result, report}`; the report counts what was emptied and deleted, of each kind."""
    return await runtime.cron_runs.run(
        call, partial(purge_all, runtime), stop_after_seconds=STOP_AFTER_SECONDS
    )


async def purge_all(runtime: Runtime, run: CronRun) -> CronReport:
    """Purge each kind of old rows until no old row is left or the time is up."""
    (retention,) = await runtime.db.fetch_all("purge_events/load_retention", {}, Retention)
    empty_from = (retention.emptied_to or FIRST_PURGE_FROM + OVERLAP) - OVERLAP
    empty_to = run.now - timedelta(days=retention.payload_days)

    purges = _purges(runtime, run, retention, empty_from, empty_to)
    is_done = [await _purge(run, purge) for purge in purges]

    return CronReport(
        {**run.state, "emptied_to": empty_to.isoformat()},
        window=(empty_from, empty_to),
        unfinished=not all(is_done),
    )


def _purges(
    runtime: Runtime, run: CronRun, retention: Retention, empty_from: datetime, empty_to: datetime
) -> Sequence[Purge]:
    bodies = {"since": empty_from, "before": empty_to}
    runs = {"before": run.now - timedelta(days=retention.run_days), "names": list(CRONS)}
    logs = {"before": run.now - timedelta(days=retention.log_days)}
    ticks = logs | {"triggers": [f"pancake_{cron}" for cron in CRONS]}
    return (
        Purge("empty_payloads", runtime.db, "purge_events/empty_payloads", bodies),
        Purge("delete_runs", runtime.db, "purge_events/delete_runs", runs),
        Purge("delete_event_logs", runtime.db, "purge_events/delete_event_logs", logs),
        Purge("delete_cron_events", runtime.metadata_db, "purge_events/delete_cron_events", ticks),
    )


async def _purge(run: CronRun, purge: Purge) -> bool:
    """Purge one kind, batch by batch; return whether no old row is left. The count survives in the state."""
    run.state.setdefault(purge.counter, 0)
    while run.seconds_left() > 0:
        params = {**purge.params, "limit": ROWS_PER_BATCH}
        row = await purge.db.fetch_one(purge.statement, params) or {"changed": 0}
        run.state[purge.counter] += row["changed"]
        if row["changed"] < ROWS_PER_BATCH:
            return True
    return False

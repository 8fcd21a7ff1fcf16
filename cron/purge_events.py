"""Empty old bodies, delete old runs and the engine's old logs: in batches, only what is finished.

Called by: cron trigger `pancake_purge_events`, daily at 20:30 UTC (03:30 in Vietnam).
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from leads.adapters.database import Database
from leads.adapters.hasura_calls import CronCall
from leads.services.cron_runs import CRONS, Report, Run
from leads.services.runtime import Answer, Runtime

SECONDS = 100
BATCH = 1000
BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
MARGIN = timedelta(days=2)
"""How far back a purge looks behind the last one: rows that were unfinished then are finished by now."""


async def purge_events(on: Runtime, call: CronCall) -> Answer:
    """Answers `{result, report}`; the report counts what was emptied and deleted, of each kind."""
    return await on.register.run(call, partial(purge, on), seconds=SECONDS)


async def purge(on: Runtime, run: Run) -> Report:
    """Four kinds of old rows, each until none is left or the time is up."""
    kept = await on.db.fetch_one("purge_events/load_retention", {}) or {}
    payloads = run.now - timedelta(days=kept["payload_days"])
    logs = run.now - timedelta(days=kept["log_days"])
    since = (kept["emptied_to"] or BEGINNING + MARGIN) - MARGIN
    work: list[tuple[str, Database, dict[str, Any]]] = [
        ("empty_payloads", on.db, {"since": since, "before": payloads}),
        ("delete_runs", on.db, {"before": run.now - timedelta(days=kept["run_days"]), "names": list(CRONS)}),
        ("delete_event_logs", on.db, {"before": logs}),
        ("delete_cron_events", on.metadata_db, {"before": logs, "triggers": [f"pancake_{c}" for c in CRONS]}),
    ]
    done = [await _until_done(run, db, name, params) for name, db, params in work]
    return Report(
        {**run.state, "emptied_to": payloads.isoformat()},
        window=(since, payloads),
        unfinished=not all(done),
    )


async def _until_done(run: Run, db: Database, name: str, params: Mapping[str, Any]) -> bool:
    """One kind, batch by batch; whether none is left. What was done before the time was up counts on."""
    run.state.setdefault(name, 0)
    while run.time_left() > 0:
        row = await db.fetch_one(f"purge_events/{name}", {**params, "limit": BATCH}) or {"changed": 0}
        run.state[name] += row["changed"]
        if row["changed"] < BATCH:
            return True
    return False

"""Empty old events, delete old cron runs and old logs of the engine: in batches, only what is finished.

Called by: cron trigger `pancake_purge_events`, daily at 20:30 UTC (03:30 in Vietnam).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from leads.adapters.database import Database, Params
from leads.domain.event_states import AT_REST, PROCESSED
from leads.runtime import Runtime
from leads.services.cron_runs import CRONS
from leads.services.cron_work import CronReport, CronRun

ROWS_PER_BATCH = 1000
FIRST_PURGE_FROM = datetime(2000, 1, 1, tzinfo=UTC)
PURGE_OVERLAP = timedelta(days=2)
"""How far a purge starts before the end of the last one: rows unfinished then are finished by now."""


@dataclass(frozen=True, slots=True)
class Retention:
    """The row of purge_events/load_retention.

    `emptied_to` and `held_emptied_to`: up to where the previous purge, which began at `started_at`, emptied
    the bodies of processed events, and of all finished ones.
    """

    payload_days: int
    held_days: int
    run_days: int
    log_days: int
    emptied_to: datetime | None
    held_emptied_to: datetime | None
    started_at: datetime | None


async def purge_events(runtime: Runtime, run: CronRun) -> CronReport:
    """Purge each kind, batch by batch, until no old row is left or the time is up; report the counts."""
    (retention,) = await runtime.db.fetch_all("purge_events/load_retention", {}, Retention)
    since = _since(retention.emptied_to)
    emptied_to, held_emptied_to, runs_to, logs_to = (
        run.now - timedelta(days=days)
        for days in (retention.payload_days, retention.held_days, retention.run_days, retention.log_days)
    )
    bodies: Params = {"since": since, "before": emptied_to, "statuses": [PROCESSED]}
    held = {"since": _since(retention.held_emptied_to), "before": held_emptied_to, "statuses": list(AT_REST)}
    replayed = {"replayed_since": _since(retention.started_at), "before": emptied_to}
    leftovers = {"before": emptied_to, "statuses": list(AT_REST)}
    runs = {"before": runs_to, "names": list(CRONS)}
    logs = {"before": logs_to}
    ticks = {"before": logs_to, "triggers": [f"pancake_{cron}" for cron in CRONS]}
    db, metadata_db = runtime.db, runtime.metadata_db
    # The kind, which is the key of the report, then how its old rows are found.
    purges: Sequence[tuple[str, Database, str, Params]] = (
        ("empty_payloads", db, "purge_events/empty_payloads", bodies),
        ("empty_held", db, "purge_events/empty_payloads", held),
        ("empty_replayed", db, "purge_events/empty_replayed", replayed),
        ("empty_leftovers", db, "purge_events/empty_leftovers", leftovers),
        ("delete_runs", db, "purge_events/delete_runs", runs),
        ("delete_event_logs", db, "purge_events/delete_event_logs", logs),
        ("delete_cron_events", metadata_db, "purge_events/delete_cron_events", ticks),
    )

    saved = run.saved("purged", dict[str, int]) or {}
    purged = {kind: saved.get(kind, 0) for kind, *_ in purges}
    done = run.saved("done", list[str]) or []
    # Two change in place, so that a run that is cut off has them too.
    run.progress |= {"purged": purged, "done": done}
    for kind, database, statement, params in purges:
        while kind not in done and run.seconds_left() > 0:
            (batch,) = await database.fetch_all(statement, {**params, "limit": ROWS_PER_BATCH})
            purged[kind] += batch["changed"]
            if batch["changed"] < ROWS_PER_BATCH:
                done.append(kind)

    unfinished = any(kind not in done for kind in purged)
    if not unfinished:  # the gates of the go-live compare what is stored with the log's new events, by day
        (counted,) = await db.fetch_all("purge_events/count_event_logs", {"now": run.now})
    return CronReport(
        {
            **purged,
            "engine_log": None if unfinished else counted["engine_log"],
            "emptied_to": emptied_to.isoformat(),
            "held_emptied_to": held_emptied_to.isoformat(),
        },
        window=(since, emptied_to),
        unfinished=unfinished,
    )


def _since(previous: datetime | None) -> datetime:
    return previous - PURGE_OVERLAP if previous else FIRST_PURGE_FROM

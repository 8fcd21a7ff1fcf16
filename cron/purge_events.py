"""Empty old events, delete old cron runs and old logs of the engine: in batches, only what is finished.

Called by: cron trigger `pancake_purge_events`, daily at 20:30 UTC (03:30 in Vietnam).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Literal, get_args

from leads.adapters.database import Database, Params
from leads.adapters.hasura_calls import CronCall
from leads.adapters.http import Answer
from leads.domain.event_states import DEAD_LETTER, PROCESSED, SKIPPED_KILL_SWITCH, SKIPPED_SOURCE_DISABLED
from leads.runtime import Runtime
from leads.services.cron_runs import CRONS
from leads.services.cron_work import CronReport, CronRun

Kind = Literal[
    "empty_payloads",
    "empty_held",
    "empty_replayed",
    "empty_leftovers",
    "delete_runs",
    "empty_runs",
    "delete_event_logs",
    "delete_cron_events",
]
"""What is purged; also the keys of the report."""
KINDS: tuple[Kind, ...] = get_args(Kind)
ROWS_PER_BATCH = 1000
FINISHED = (PROCESSED, DEAD_LETTER, SKIPPED_KILL_SWITCH, SKIPPED_SOURCE_DISABLED)
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


@dataclass(frozen=True, slots=True)
class Period:
    """When the events were stored whose bodies are to be emptied: from `since`, before `before`."""

    since: datetime
    before: datetime


@dataclass(frozen=True, slots=True)
class Batch:
    """The row of a statement that purges one batch."""

    changed: int


@dataclass(slots=True)
class PurgeProgress:
    """How many rows of each kind the deliveries of a tick have purged so far, and which kinds are done."""

    purged: dict[Kind, int]
    done: list[Kind]

    @classmethod
    def load(cls, run: CronRun) -> "PurgeProgress":
        """Continue from what an earlier delivery saved, else from 0."""
        saved = run.saved("purged", dict[Kind, int]) or {}
        return cls({kind: saved.get(kind, 0) for kind in KINDS}, run.saved("done", list[Kind]) or [])

    def counts(self) -> dict[str, object]:
        """Return the part of the report."""
        return dict(self.purged.items())

    def save(self) -> dict[str, object]:
        """Return what the run's state keeps."""
        return {"purged": self.purged, "done": self.done}


@dataclass(frozen=True, slots=True)
class Purge:
    """How old rows of one kind are found."""

    kind: Kind
    db: Database
    statement: str
    params: Params


async def purge_events(runtime: Runtime, call: CronCall) -> Answer:
    """Answer `{result, report}`; the report counts what was emptied and deleted, of each kind."""
    return await runtime.cron_runs.run(call, partial(purge_all, runtime))


async def purge_all(runtime: Runtime, run: CronRun) -> CronReport:
    """Purge each kind of old rows until no old row is left or the time is up."""
    (retention,) = await runtime.db.fetch_all("purge_events/load_retention", {}, Retention)
    processed = _period(retention.emptied_to, run.now, retention.payload_days)
    finished = _period(retention.held_emptied_to, run.now, retention.held_days)

    progress = PurgeProgress.load(run)
    purges = (*_empty_bodies(runtime, retention, processed, finished), *_delete_rows(runtime, run, retention))
    try:
        for purge in purges:
            await _purge(run, progress, purge)
    finally:
        run.state |= progress.save()

    emptied_to = {"emptied_to": processed.before.isoformat(), "held_emptied_to": finished.before.isoformat()}
    return CronReport(
        progress.counts() | emptied_to,
        window=(processed.since, processed.before),
        unfinished=len(progress.done) < len(purges),
    )


def _period(emptied_to: datetime | None, now: datetime, days: int) -> Period:
    return Period(_since(emptied_to), now - timedelta(days=days))


def _since(previous: datetime | None) -> datetime:
    return previous - PURGE_OVERLAP if previous else FIRST_PURGE_FROM


def _empty_bodies(
    runtime: Runtime, retention: Retention, processed: Period, finished: Period
) -> Sequence[Purge]:
    """Return the purges of bodies: of processed events, later of all finished ones, and of late replays."""
    of_processed = {"since": processed.since, "before": processed.before, "statuses": [PROCESSED]}
    of_finished = {"since": finished.since, "before": finished.before, "statuses": list(FINISHED)}
    leftovers = {"before": processed.before, "statuses": list(FINISHED)}
    of_replayed = {"replayed_since": _since(retention.started_at), "before": processed.before}
    return (
        Purge("empty_payloads", runtime.db, "purge_events/empty_payloads", of_processed),
        Purge("empty_held", runtime.db, "purge_events/empty_payloads", of_finished),
        Purge("empty_replayed", runtime.db, "purge_events/empty_replayed", of_replayed),
        Purge("empty_leftovers", runtime.db, "purge_events/empty_leftovers", leftovers),
    )


def _delete_rows(runtime: Runtime, run: CronRun, retention: Retention) -> Sequence[Purge]:
    runs = {"before": run.now - timedelta(days=retention.run_days), "names": list(CRONS)}
    logs = {"before": run.now - timedelta(days=retention.log_days)}
    ticks = logs | {"triggers": [f"pancake_{cron}" for cron in CRONS]}
    return (
        Purge("delete_runs", runtime.db, "purge_events/delete_runs", runs),
        Purge("empty_runs", runtime.db, "purge_events/empty_runs", {"before": runs["before"]}),
        Purge("delete_event_logs", runtime.db, "purge_events/delete_event_logs", logs),
        Purge("delete_cron_events", runtime.metadata_db, "purge_events/delete_cron_events", ticks),
    )


async def _purge(run: CronRun, progress: PurgeProgress, purge: Purge) -> None:
    """Purge one kind, batch by batch, until no old row is left or the time is up."""
    while purge.kind not in progress.done and run.seconds_left() > 0:
        params = {**purge.params, "limit": ROWS_PER_BATCH}
        (batch,) = await purge.db.fetch_all(purge.statement, params, Batch)
        progress.purged[purge.kind] += batch.changed
        if batch.changed < ROWS_PER_BATCH:
            progress.done.append(purge.kind)

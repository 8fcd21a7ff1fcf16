"""Layer 2: read the records modified since the watermark and store what the webhook did not bring.

Called by: cron trigger `pancake_poll_records`, every 5 minutes.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from leads.adapters.pancake_api import COMPLETE
from leads.domain.body import ICT
from leads.domain.listing import ListedLead, TableRecord, not_covered
from leads.domain.poll import PollProgress, PollReport, SavedPoll
from leads.domain.versions import MAX_FUTURE
from leads.runtime import Runtime
from leads.services.connections import Connection, load_connections
from leads.services.cron_work import OUT_OF_TIME, AdminNotice, CronReport, CronRun, for_each, problems
from leads.services.missing_leads import load_recent, look_up_times, read_pages, store_missing

MAX_PAGES_PER_POLL = 5_000
MAX_LOOK_UPS = 20
"""Suspects read one by one; if there are more, the list is not trusted without looking them up."""


async def poll_records(runtime: Runtime, run: CronRun) -> CronReport:
    """Poll every connection; report the window of each and what was missed.

    One that runs out of time continues at the next delivery of the tick.
    """
    connections = await load_connections(runtime.db, runtime.settings.key_ring)
    reports, is_complete = await for_each(run, connections, partial(poll_connection, runtime, run))
    return CronReport(
        {"connections": reports},
        window=_window(reports),
        notices=tuple(
            notice
            # There are fewer reports than connections while the run is unfinished.
            for connection, report in zip(connections, reports, strict=False)
            for notice in _notices(run, connection, report)
        ),
        problem=problems(reports),
        unfinished=not is_complete,
    )


async def poll_connection(runtime: Runtime, run: CronRun, connection: Connection) -> PollReport:
    """Store what is missing in a connection's window; advance its watermark if the list is trusted."""
    saved = run.saved(connection.id, SavedPoll)
    progress = PollProgress.load(saved) if saved else await _start(runtime, run, connection)
    try:
        ending = await _read(runtime, run, connection, progress)
        if ending == COMPLETE and not await _look_up_suspects(runtime, run, connection, progress):
            ending = OUT_OF_TIME
    finally:
        run.progress[connection.id] = progress.save()
    report = progress.report()
    report["ending"] = ending
    if ending == OUT_OF_TIME:
        return report

    trusted = ending == COMPLETE and _is_trusted(progress)
    watermark = progress.watermark_after(connection.watermark, trusted=trusted)
    params = {"connection_id": connection.id, "now": run.now, "watermark": watermark}
    await runtime.db.fetch_all("poll_records/set_watermark", params)

    report["trusted"] = trusted
    report["pages"] = progress.position.pages
    del run.progress[connection.id]
    return report


async def _start(runtime: Runtime, run: CronRun, connection: Connection) -> PollProgress:
    """Begin the next window; the list has to contain the records of it that the webhook brought."""
    progress = PollProgress.start(connection.watermark, run.now)
    params = {
        "connection_id": connection.id,
        "tables": list(connection.tables),
        "window_from": progress.window.start,
        "window_to": progress.window.end,
        "max_future": MAX_FUTURE,
    }
    rows = await runtime.db.fetch_all("poll_records/load_known", params)
    progress.expect({TableRecord(row["table_name"], row["record_id"]): row["modified_on"] for row in rows})
    return progress


async def _read(runtime: Runtime, run: CronRun, connection: Connection, progress: PollProgress) -> str:
    """Read the newest window first, if the window that is due ends before it; return how reading ended."""
    for each in (progress.latest, progress) if progress.latest else (progress,):
        ending = await read_pages(
            runtime.pancake,
            connection,
            each.window,
            each.position,
            partial(_store_missing, runtime, run, connection, each),
            seconds_left=run.seconds_left,
            max_pages=MAX_PAGES_PER_POLL,
        )
        if ending == OUT_OF_TIME:
            break
    return ending


async def _store_missing(
    runtime: Runtime,
    run: CronRun,
    connection: Connection,
    progress: PollProgress,
    leads: list[ListedLead],
) -> None:
    """Store those leads of some pages that are in the window and not stored."""
    selected = progress.select(leads)
    added = []
    if missing := not_covered(selected, await load_recent(runtime.db, connection, selected)):
        added = await store_missing(runtime.db, connection, missing, "poll", run.now, runtime.digester)
    progress.enter(leads, [lead.record_id for lead, _ in added])
    runtime.metrics.webhook_missed.labels("poll").inc(len(added))


async def _look_up_suspects(
    runtime: Runtime, run: CronRun, connection: Connection, progress: PollProgress
) -> bool:
    """Look up the records that had to be listed and were not; return whether there was time for all."""
    suspects = list(progress.awaited)
    if len(suspects) > MAX_LOOK_UPS:
        return True
    return await look_up_times(
        runtime.pancake, connection, suspects, progress.look_ups, seconds_left=run.seconds_left
    )


def _is_trusted(progress: PollProgress) -> bool:
    """Whether every record that had to be listed was, or its present state explains why it was not."""
    return len(progress.awaited) <= MAX_LOOK_UPS and progress.has_explanation()


def _window(reports: Sequence[PollReport]) -> tuple[datetime | None, datetime | None]:
    """Return the earliest start and the latest end of the connections' windows."""
    times = [datetime.fromisoformat(text) for report in reports for text in report.get("window", ())]
    return min(times, default=None), max(times, default=None)


def _notices(run: CronRun, connection: Connection, report: PollReport) -> list[AdminNotice]:
    """Once a day: a list that is not trusted, or a filter that Pancake ignores."""
    reasons = {
        "filter_suspect": report.get("trusted") is False and not report.get("may_lag"),
        "filter_ignored": report.get("outside", 0) > 0,
    }
    day = run.now.date().isoformat()
    times = (datetime.fromisoformat(text).astimezone(ICT) for text in report.get("window", ()))
    detail = f"{connection.name}, {' – '.join(f'{time:%H:%M %d/%m}' for time in times)}"
    found = [reason for reason, applies in reasons.items() if applies]
    return [AdminNotice(f"{reason}:{connection.id}:{day}", reason, detail) for reason in found]

"""Compare one day with Pancake by the cron reconcile_daily, without its short time limit."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from functools import partial

from cron.reconcile_daily import reconcile_daily, reconcile_day
from leads.adapters.hasura_calls import CronCall
from leads.adapters.settings import Settings
from leads.domain.day_ledger import DayReport
from leads.domain.errors import Retryable
from leads.runtime import Runtime
from leads.services.connections import load_connections
from leads.services.cron_work import CronRun, for_each
from ops.clients.db_session import QUERIES, open_session
from ops.failures import CommandFailed

MAX_SECONDS = 6 * 3600.0


async def reconcile_and_store(settings: Settings, day: date) -> list[DayReport]:
    """Run the cron for this day; return the reports that it stored. Raises what the cron raises."""
    async with _open_runtime(settings) as runtime:
        await _check_keys(runtime)
        _require_no_unfinished(settings, runtime.clock.now())
        runtime.cron_runs.answer_within_seconds = MAX_SECONDS
        now, payload = runtime.clock.now(), {"day": day.isoformat()}
        call = CronCall("leads reconcile", "pancake_reconcile_daily", now, payload)
        try:
            answer = await reconcile_daily(runtime, call)
        except Retryable:
            # The run failed for some connections; what it stored of the day says why.
            if reports := load_reports(settings, day):
                return reports
            raise
        if answer["result"] != "succeeded":
            reason = answer.get("reason", answer["result"])
            raise CommandFailed(f"{day} was not reconciled: {reason}. Run this again later.")
        return load_reports(settings, day)


def _require_no_unfinished(settings: Settings, now: datetime) -> None:
    """Raise CommandFailed while a run waits for its next delivery: this one would continue in its place."""
    with open_session(settings.database_url, "reconcile") as db:
        run = db.execute(QUERIES["reconcile/load_unfinished"], {"now": now}).fetchone()
    if run:
        due = run["scheduled_time"].astimezone(UTC)
        raise CommandFailed(
            f"The run of {due:%Y-%m-%d %H:%M} UTC is not finished: it waits for its next delivery.\n"
            "Run this again when it has ended, or in an hour."
        )


async def try_out(settings: Settings, day: date) -> list[DayReport]:
    """Compare the day and change nothing."""
    async with _open_runtime(settings) as runtime:
        await _check_keys(runtime)
        now = runtime.clock.now()
        run = CronRun(0, now, now, {}, lambda: MAX_SECONDS, is_dry_run=True)
        work = partial(reconcile_day, runtime, run, day)
        reports, _ = await for_each(run, await load_connections(runtime.db, settings.key_ring), work)
        return reports


def load_reports(settings: Settings, day: date) -> list[DayReport]:
    """Load the newest stored report of the day, of each connection."""
    with open_session(settings.database_url, "reconcile") as db:
        rows = db.execute(QUERIES["reconcile/load_reports"], {"day": day.isoformat()}).fetchall()
    return [row["report"] for row in rows]


async def _check_keys(runtime: Runtime) -> None:
    """Raise Misconfigured if a stored API key cannot be opened or must not be sent to its host."""
    for connection in await load_connections(runtime.db, runtime.settings.key_ring):
        connection.access.require_key(runtime.settings.pancake_api_hosts)


@asynccontextmanager
async def _open_runtime(settings: Settings) -> AsyncIterator[Runtime]:
    # The pool logs each failed attempt to connect; the command reports the failure itself.
    logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())
    with open_session(settings.database_url, "reconcile"):
        pass  # a database that cannot be reached is reported at once, with its reason
    runtime = Runtime.assemble(settings)
    await runtime.open()
    try:
        yield runtime
    finally:
        await runtime.close()

"""One day compared with Pancake by the cron's own code, outside its time limit."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from functools import partial
from typing import Any

from cron.reconcile_daily import reconcile_day, reconcile_owed
from leads.adapters.clock import Clock
from leads.adapters.hasura_calls import CronCall
from leads.adapters.queries import QUERIES
from leads.adapters.settings import Settings
from leads.adapters.sync_database import connect
from leads.cli.failures import CommandFailed
from leads.domain import delivery
from leads.domain.decide import NEEDS_ATTENTION
from leads.domain.errors import Retryable
from leads.domain.listing import read_answer
from leads.services.connections import for_each, load_connections
from leads.services.cron_runs import Run
from leads.services.runtime import Runtime

MAX_SECONDS = 6 * 3600.0
Reports = list[dict[str, Any]]


async def compute(settings: Settings, day: date) -> Reports:
    """Run the cron for this day; returns the reports that it stored. Raises what the cron raises."""
    async with _runtime(settings) as runtime:
        call = CronCall("script", "pancake_reconcile_daily", runtime.clock.now(), {"day": day.isoformat()})
        try:
            answer = await runtime.register.run(call, partial(reconcile_owed, runtime), seconds=MAX_SECONDS)
        except Retryable:
            # The run failed for some connections; what it stored of the day says why.
            if not (reports := load_stored(settings.database_url, day)):
                raise
            return reports
        if answer["result"] != "succeeded":
            reason = answer.get("reason", answer["result"])
            raise CommandFailed(f"{day} was not reconciled: {reason}. Run this again later.")
        return load_stored(settings.database_url, day)


async def try_out(settings: Settings, day: date) -> Reports:
    """Compare the day and change nothing."""
    async with _runtime(settings) as runtime:
        now = runtime.clock.now()
        run = Run(0, now, now, {}, lambda: MAX_SECONDS)
        work = partial(reconcile_day, runtime, run, day, dry_run=True)
        return await for_each(await load_connections(runtime.db, settings.key_ring), work)


def load_stored(database_url: str, day: date) -> Reports:
    """The stored reports of the day, one for each connection."""
    with connect(database_url) as db:
        rows = db.execute(QUERIES["reconcile/load_reports"], {"day": day.isoformat()})
        return [row["report"] for row in rows]


@asynccontextmanager
async def _runtime(settings: Settings) -> AsyncIterator[Runtime]:
    runtime = Runtime.assemble(
        settings, Clock(), delivery.columns, delivery.unstorable, read_answer, NEEDS_ATTENTION
    )
    # The pool logs each failed attempt to connect; the command reports the failure itself.
    logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())
    await runtime.open()
    try:
        yield runtime
    finally:
        await runtime.close()

"""A dry run of a cron: the real work in a transaction that is rolled back, and nothing leaves the database.

Its answer has the report of the run, and which notifications would be sent. Nothing is stored of it, and the
lock of the cron is not taken: a real run may be under way.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import wraps
from typing import Any

from leads.adapters.database import Database, UndoneDatabase
from leads.adapters.graphql import SEND_TIMEOUT_SECONDS, GraphqlClient
from leads.adapters.hasura_calls import CronCall
from leads.adapters.http import Answer
from leads.adapters.metrics import Metrics
from leads.domain.errors import BadRequest
from leads.domain.reports import MAX_ITEMS_PER_ANSWERED_LIST, shorten
from leads.runtime import Runtime
from leads.services.cron_limit import do_until
from leads.services.cron_runs import CronRuns
from leads.services.cron_work import CUT_OFF_AT, DRY_RUN, OVERRUN, STOP_AT, CronRun, CronWork
from leads.services.outbox import Outbox

Cron = Callable[[Runtime, CronCall], Awaitable[Answer]]


def with_dry_run(cron: Cron) -> Cron:
    """Return the cron, with a dry run for a call whose payload is `{"dry_run": true}`."""

    @wraps(cron)
    async def handle(runtime: Runtime, call: CronCall) -> Answer:
        if DRY_RUN not in call.payload:
            return await cron(runtime, call)
        if call.payload[DRY_RUN] is not True:
            raise BadRequest("payload.dry_run is not true.")
        async with _dry_runtime(runtime) as undone:
            return await cron(undone, call)

    return handle


class NotSent(GraphqlClient):
    """Takes notifications as Hasura does when all are accepted, and keeps them."""

    def __init__(self) -> None:
        self.kept: list[Mapping[str, Any]] = []

    async def send_notifications(
        self, notifications: Sequence[Mapping[str, Any]], *, timeout_seconds: float = SEND_TIMEOUT_SECONDS
    ) -> dict[str, int]:
        self.kept += notifications
        return {"accepted": len(notifications), "duplicates": 0}


class DryRuns(CronRuns):
    """Runs the work without a row in pancake_cron_run, and answers what it would do."""

    def __init__(self, runtime: Runtime, db: Database, not_sent: NotSent, metrics: Metrics) -> None:
        super().__init__(db, not_sent, metrics, runtime.clock)
        self.answer_within_seconds = runtime.cron_runs.answer_within_seconds
        self._not_sent = not_sent

    async def run(self, call: CronCall, work: CronWork) -> Answer:
        """Answer `{result, report, would_send, unfinished}`. Raises what `work` raises."""
        seconds = self.answer_within_seconds
        stop_at = self._clock.monotonic() + STOP_AT * seconds
        run = CronRun(
            id=0,
            scheduled_time=call.scheduled_time,
            now=self._clock.now(),
            payload={name: value for name, value in call.payload.items() if name != DRY_RUN},
            seconds_left=lambda: stop_at - self._clock.monotonic(),
            overrun_seconds=OVERRUN * seconds,
            is_dry_run=True,
        )
        report = await do_until(asyncio.get_running_loop().time() + CUT_OFF_AT * seconds, run, work)
        async with self._db.transaction() as transaction:
            await transaction.run(*report.statements, commit=True)
        sent = [*self._not_sent.kept, *await self._notifications(report)]
        answer: Answer = {
            "result": DRY_RUN,
            "report": shorten(report.body or run.reports),
            "would_send": [_told(each) for each in sent[:MAX_ITEMS_PER_ANSWERED_LIST]],
            "would_send_count": len(sent),
            "unfinished": report.unfinished,
        }
        return answer | ({"problem": report.problem} if report.problem else {})


@asynccontextmanager
async def _dry_runtime(runtime: Runtime) -> AsyncIterator[Runtime]:
    """The parts of the process, with databases whose work is undone, and nothing that is sent or counted."""
    not_sent, metrics = NotSent(), Metrics()
    async with AsyncExitStack() as stack:
        db = metadata_db = UndoneDatabase(await stack.enter_async_context(runtime.db.dry_run()))
        if runtime.metadata_db is not runtime.db:
            metadata_db = UndoneDatabase(await stack.enter_async_context(runtime.metadata_db.dry_run()))
        yield replace(
            runtime,
            metrics=metrics,
            db=db,
            metadata_db=metadata_db,
            graphql=not_sent,
            cron_runs=DryRuns(runtime, db, not_sent, metrics),
            outbox=Outbox(db, not_sent, metrics, runtime.clock),
        )


def _told(notification: Mapping[str, Any]) -> dict[str, object]:
    """Return a notification without what it says of the customer."""
    recipients = len(notification["recipient_ids"])
    shown = {name: notification[name] for name in ("idempotency_key", "template_code")}
    return {**shown, "reason": notification["data"].get("reason"), "recipients": recipients}

"""The runs of the crons: each tick once, one run of a cron at a time, each with a stored report.

A run is a row of pancake_cron_run. Its lock is a session lock, which PostgreSQL releases when the process
dies; the next delivery of the tick then takes the row over. What a run needs to continue is kept in the row's
report under `state`. If the next tick comes first, that one continues with it, and the older tick is skipped.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from leads.adapters.clock import Clock
from leads.adapters.database import Database, Row, Transaction
from leads.adapters.graphql import GraphqlClient
from leads.adapters.hasura_calls import Answer, CronCall
from leads.adapters.logs import LOGGER, summarize
from leads.adapters.metrics import Metrics
from leads.adapters.time_limits import CURRENT_CALL, CallLimits, limited
from leads.domain.errors import BadRequest, DatabaseUnavailable, Retryable
from leads.domain.notifications import NEEDS_ATTENTION
from leads.domain.reports import MAX_ITEMS_PER_ANSWERED_LIST, shorten
from leads.services.cron_work import (
    ANSWER_WITHIN_SECONDS,
    CRON_PERIOD_SECONDS,
    CUT_OFF_AT,
    DRY_RUN,
    OVERRUN,
    STOP_AT,
    CronReport,
    CronRun,
    CronWork,
    RunFailed,
    RunUnderWay,
    RunUnfinished,
    run_until_deadline,
)
from leads.services.outbox import RUNS, Outbox, note_dropped

CRONS = tuple(CRON_PERIOD_SECONDS)
"""The names in pancake_cron_run; Hasura's have `pancake_` before them."""


_InTime = Callable[[], Awaitable[CronReport]]


class CronRuns:
    """Runs the work of a cron for a tick, if the tick is due and no other run of the cron is under way."""

    def __init__(self, db: Database, graphql: GraphqlClient, metrics: Metrics, clock: Clock) -> None:
        self._db = db
        self._metrics = metrics
        self._clock = clock
        self.answer_within_seconds = ANSWER_WITHIN_SECONDS
        self._running: dict[str, datetime] = {}
        self.notices = Outbox(db, graphql, metrics, clock, RUNS)

    async def run(self, call: CronCall, work: CronWork) -> Answer:
        """Answer `{result, report}` in time; work that takes longer goes on when the tick comes again.

        Raises RunUnfinished, RunUnderWay, RunStuck, RunFailed, and what `work` raises, after storing it;
        BadRequest if the call asks for a dry run, which `with_dry_run` did not take.
        """
        if DRY_RUN in call.payload:
            raise BadRequest(f"{call.name} has no dry run.")
        name = call.name.removeprefix("pancake_")
        now, seconds = asyncio.get_running_loop().time(), self.answer_within_seconds
        run, limited_work = self._begin(call, work)
        try:
            CURRENT_CALL.set(CallLimits(now + STOP_AT * seconds))
            async with limited(now + seconds) as limit:
                return await self._run(name, run, limited_work)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise DatabaseUnavailable from error

    def _begin(self, call: CronCall, work: CronWork, is_dry_run: bool = False) -> tuple[CronRun, _InTime]:
        """Return a run that is not stored yet, and its work, which is cut off in time."""
        seconds = self.answer_within_seconds
        stop_at = self._clock.monotonic() + STOP_AT * seconds
        run = CronRun(
            id=0,
            scheduled_time=call.scheduled_time,
            now=self._clock.now(),
            payload={key: value for key, value in call.payload.items() if key != DRY_RUN},
            seconds_left=lambda: stop_at - self._clock.monotonic(),
            overrun_seconds=OVERRUN * seconds,
            is_dry_run=is_dry_run,
        )
        deadline = asyncio.get_running_loop().time() + CUT_OFF_AT * seconds
        return run, partial(run_until_deadline, deadline, run, work)

    async def _run(self, name: str, run: CronRun, work: _InTime) -> Answer:
        """Do the work unless the tick is done, or another one is under way."""
        tick = {"name": name, "scheduled_time": run.scheduled_time, "now": run.now}
        if self._running.get(name) == run.scheduled_time:
            raise RunUnderWay  # its row may not be there yet, and must not be `skipped`
        if name in self._running:  # no session is opened: after an outage Hasura delivers many ticks at once
            return self._answer_busy(name, await self._db.fetch_all("cron_runs/skip_run", tick))
        self._running[name] = run.scheduled_time
        try:
            async with self._db.exclusive(name) as (is_free, session):
                statement = "cron_runs/start_run" if is_free else "cron_runs/skip_run"
                (rows,) = await session.run((statement, tick), commit=True)
                if not is_free:
                    return self._answer_busy(name, rows)
                if not rows:
                    return self._count(name, {"result": "already_done"})
                if rows[0]["outcome"] == "skipped":
                    return self._count(name, {"result": "skipped", "reason": "A later run did this work."})
                run.id = rows[0]["id"]
                run.restore(rows[0]["report"].get("state", {}))
                return await self._work(name, run, work, session)
        finally:
            del self._running[name]

    def _answer_busy(self, name: str, rows: Sequence[Row]) -> Answer:
        """Answer a tick that was not begun; the row of skip_run says what its run is now."""
        outcome = rows[0]["outcome"] if rows else None
        if outcome == "running":
            raise RunUnderWay
        if outcome == "skipped":
            reason = "Another run of this cron is under way."
            return self._count(name, {"result": "skipped", "reason": reason})
        return self._count(name, {"result": "already_done"})

    async def _work(self, name: str, run: CronRun, work: _InTime, session: Transaction) -> Answer:
        try:
            report = await work()
        except Exception as error:
            await self._store(session, run, CronReport({}, problem=summarize(error)), [])
            self._count(name, {"result": "failed"})
            raise
        notifications = await self._notifications(report)
        await self._store(session, run, report, notifications)
        if notifications:
            await self._send_notices(run)
        if report.unfinished:
            raise RunUnfinished
        answer = self._count(name, {"result": report.outcome, "report": shorten(report.body)})
        if report.problem:
            raise RunFailed(report.problem)
        return answer

    async def _notifications(self, report: CronReport) -> list[dict[str, object]]:
        """Return the inputs of sendNotifications for a report's notices."""
        if not report.notices:
            return []
        staff = await self._db.fetch_all("cron_runs/load_recipients", {})
        admins = [each["id"] for each in staff if not each["is_manager"]]
        managers = [each["id"] for each in staff if each["is_manager"]] or admins
        keys = [
            notice.key for notice in report.notices if not (managers if notice.is_for_managers else admins)
        ]
        if keys:
            fields = {"reason": "no active admin", "keys": keys}
            note_dropped(self._metrics, "notifications dropped", len(keys), fields)
        return [
            {
                "template_code": NEEDS_ATTENTION,
                "recipient_ids": managers if notice.is_for_managers else admins,
                "data": {"reason": notice.reason, "detail": notice.detail, **notice.facts},
                "idempotency_key": notice.key,
            }
            for notice in report.notices
            if notice.key not in keys
        ]

    async def _store(
        self, session: Transaction, run: CronRun, report: CronReport, notifications: list[dict[str, object]]
    ) -> None:
        """Store the run in the session that holds its lock: a run that lost its lock cannot.

        Raises Contended if the session is lost.
        """
        if report.outcome == "failed":  # parts with an error are tried again
            run.reports = {part: each for part, each in run.reports.items() if "error" not in each}
        has_state = report.unfinished or run.reports or run.progress
        state = {"state": run.state} if report.outcome != "succeeded" and has_state else {}
        body = {**report.body, **state, "notifications": notifications}
        params = {
            "id": run.id,
            "outcome": report.outcome,
            "now": self._clock.now(),
            "report": json.dumps(body, ensure_ascii=False, default=str),
            "error": report.problem,
            "window_from": report.window[0],
            "window_to": report.window[1],
        }
        await session.run(*report.statements, ("cron_runs/finish_run", params), commit=True)

    async def _send_notices(self, run: CronRun) -> None:
        """Send the notices of a stored run; those that fail, or have no time, are left to retry_failed."""
        try:
            await self.notices.claim_and_send([run.id], has_time=run.has_time_to_send)
        except Retryable as error:
            fields = {"run": run.id, "reason": str(error)}
            LOGGER.warning("notifications deferred to the retry cron", extra={"fields": fields})

    def _count(self, name: str, answer: Answer) -> Answer:
        self._metrics.cron_runs.labels(name, answer["result"]).inc()
        return answer


class NotSent(GraphqlClient):
    """Takes notifications as Hasura does when all are accepted, and keeps them."""

    def __init__(self) -> None:
        self.kept: list[Mapping[str, Any]] = []

    async def send_notifications(self, notifications: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        self.kept += notifications
        return {"accepted": len(notifications), "duplicates": 0}


class DryRuns(CronRuns):
    """Runs the work without a row in pancake_cron_run, and answers what it would do.

    The lock of the cron is not taken: a real run may be under way.
    """

    def __init__(
        self, db: Database, not_sent: NotSent, metrics: Metrics, clock: Clock, answer_within_seconds: float
    ) -> None:
        super().__init__(db, not_sent, metrics, clock)
        self.answer_within_seconds = answer_within_seconds
        self._not_sent = not_sent

    async def run(self, call: CronCall, work: CronWork) -> Answer:
        """Answer `{result, report, would_send, unfinished}`. Raises what `work` raises."""
        run, limited_work = self._begin(call, work, is_dry_run=True)
        report = await limited_work()
        async with self._db.transaction() as transaction:
            await transaction.run(*report.statements, commit=True)
        would_send = [*self._not_sent.kept, *await self._notifications(report)]
        answer: Answer = {
            "result": DRY_RUN,
            "report": shorten(report.body or run.reports),
            "would_send": [_without_customer(each) for each in would_send[:MAX_ITEMS_PER_ANSWERED_LIST]],
            "would_send_count": len(would_send),
            "unfinished": report.unfinished,
        }
        return answer | ({"problem": report.problem} if report.problem else {})


def _without_customer(notification: Mapping[str, Any]) -> dict[str, object]:
    """Return a notification without what it says of the customer."""
    recipients = len(notification["recipient_ids"])
    shown = {name: notification[name] for name in ("idempotency_key", "template_code")}
    return {**shown, "reason": notification["data"].get("reason"), "recipients": recipients}

"""The runs of the crons: each tick once, one run of a cron at a time, each with a stored report.

A run is a row of pancake_cron_run. Its lock is a session lock, which PostgreSQL releases when the process
dies; the next delivery of the tick then takes the row over. What a run needs to continue is kept in the row's
report under `state`.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

from leads.adapters.clock import Clock
from leads.adapters.database import Database, Params, Transaction
from leads.adapters.graphql import GraphqlClient
from leads.adapters.hasura_calls import CronCall
from leads.adapters.http import Answer
from leads.adapters.logs import LOGGER, summarize
from leads.adapters.metrics import Metrics
from leads.domain.errors import Retryable, Unavailable
from leads.domain.notifications import NEEDS_ATTENTION
from leads.domain.reports import shorten
from leads.services.cron_work import CronReport, CronRun, CronWork
from leads.services.run_notices import RunNotices

CRONS = (
    "sync_sources",
    "check_connection",
    "retry_failed",
    "check_sla",
    "purge_events",
    "poll_records",
    "reconcile_daily",
)
"""The names in pancake_cron_run; Hasura's have `pancake_` before them."""


class RunUnfinished(Unavailable):
    """The run used up its time; it continues when this tick is delivered again."""

    code = "run_unfinished"
    retry_after_seconds = 1


class RunUnderWay(Unavailable):
    """This tick is being worked on by another delivery."""

    code = "run_under_way"
    retry_after_seconds = 5


class RunFailed(Retryable):
    """The run did not complete all of its work; its report says what is missing."""

    code = "run_failed"


class _StoredReport(TypedDict, total=False):
    """The part of a stored report that continues a run."""

    state: dict[str, object]


@dataclass(frozen=True, slots=True)
class _StartedRun:
    """The row of cron_runs/start_run."""

    id: int
    outcome: str
    report: _StoredReport
    started_at: datetime


@dataclass(frozen=True, slots=True)
class _SkippedRun:
    """The row of cron_runs/skip_run."""

    outcome: str


@dataclass(frozen=True, slots=True)
class _Recipient:
    """A row of cron_runs/load_recipients."""

    id: str


class CronRuns:
    """Runs the work of a cron for a tick, if the tick is due and no other run of the cron is under way."""

    def __init__(self, db: Database, graphql: GraphqlClient, metrics: Metrics, clock: Clock) -> None:
        self._db = db
        self._metrics = metrics
        self._clock = clock
        self.notices = RunNotices(db, graphql, metrics, clock)

    async def run(self, call: CronCall, work: CronWork, *, stop_after_seconds: float) -> Answer:
        """Answer `{result, report}`; `work` should return after `stop_after_seconds`.

        Raises RunUnfinished, RunUnderWay, RunFailed, and what `work` raises, after storing it.
        """
        name = call.name.removeprefix("pancake_")
        now = self._clock.now()
        tick = {"name": name, "scheduled_time": call.scheduled_time, "now": now}
        async with self._db.exclusive(name) as (is_free, session):
            if not is_free:
                return self._answer_busy(name, await _skip(session, tick))
            started = await _start(session, tick)
            if started is None:
                return self._count(name, {"result": "already_done"})
            if started.outcome == "skipped":
                return self._answer_skipped(name, "A later run did this work.")
            deadline = self._clock.monotonic() + stop_after_seconds
            run = CronRun(
                id=started.id,
                scheduled_time=call.scheduled_time,
                now=now,
                payload=call.payload,
                seconds_left=lambda: deadline - self._clock.monotonic(),
                state=started.report.get("state", {}),
            )
            return await self._work(name, run, work)

    def _answer_busy(self, name: str, run: _SkippedRun | None) -> Answer:
        if run is not None and run.outcome == "running":
            raise RunUnderWay
        if run is not None and run.outcome == "skipped":
            return self._answer_skipped(name, "Another run of this cron is under way.")
        return self._count(name, {"result": "already_done"})

    def _answer_skipped(self, name: str, reason: str) -> Answer:
        return self._count(name, {"result": "skipped", "reason": reason})

    async def _work(self, name: str, run: CronRun, work: CronWork) -> Answer:
        try:
            report = await work(run)
        except Exception as error:
            await self._store_error(run, error)
            self._count(name, {"result": "failed"})
            raise
        notifications = await self._notifications(report)
        outcome = "running" if report.unfinished else "failed" if report.problem else "succeeded"
        state = {"state": run.state} if outcome != "succeeded" and run.state else {}
        await self._store(run, outcome, {**report.body, **state, "notifications": notifications}, report)
        if notifications:
            await self._send_notices(run.id)
        if report.unfinished:
            raise RunUnfinished
        answer = self._count(name, {"result": outcome, "report": shorten(report.body)})
        if report.problem:
            raise RunFailed(report.problem)
        return answer

    async def _send_notices(self, run_id: int) -> None:
        """Send the notices of a stored run; what fails is left to retry_failed."""
        try:
            await self.notices.claim_and_send([run_id])
        except Retryable as error:
            fields = {"run": run_id, "reason": str(error)}
            LOGGER.warning("notifications deferred to the retry cron", extra={"fields": fields})

    async def _store_error(self, run: CronRun, error: Exception) -> None:
        await self._store(run, "failed", {"state": run.state}, CronReport({}, problem=summarize(error)))

    async def _store(self, run: CronRun, outcome: str, body: dict[str, object], report: CronReport) -> None:
        params = {
            "id": run.id,
            "outcome": outcome,
            "now": self._clock.now(),
            "report": json.dumps(body, ensure_ascii=False, default=str),
            "error": report.problem,
            "window_from": report.window[0],
            "window_to": report.window[1],
        }
        async with self._db.transaction() as transaction:
            await transaction.run(*report.statements, ("cron_runs/finish_run", params), commit=True)

    async def _notifications(self, report: CronReport) -> list[dict[str, object]]:
        """Return the inputs of sendNotifications for a report's notices."""
        if not report.notices:
            return []
        recipients = await self._db.fetch_all("cron_runs/load_recipients", {}, _Recipient)
        if not recipients:
            keys = [notice.key for notice in report.notices]
            LOGGER.warning(
                "notifications dropped", extra={"fields": {"reason": "no active admin", "keys": keys}}
            )
            self._metrics.notifications.labels("dropped").inc(len(keys))
            return []
        return [
            {
                "template_code": NEEDS_ATTENTION,
                "recipient_ids": [recipient.id for recipient in recipients],
                "data": {"reason": notice.reason, "detail": notice.detail},
                "idempotency_key": notice.key,
            }
            for notice in report.notices
        ]

    def _count(self, name: str, answer: Answer) -> Answer:
        self._metrics.cron_runs.labels(name, answer["result"]).inc()
        return answer


async def _start(session: Transaction, tick: Params) -> _StartedRun | None:
    (rows,) = await session.run(("cron_runs/start_run", tick), commit=True)
    return _StartedRun(**rows[0]) if rows else None


async def _skip(session: Transaction, tick: Params) -> _SkippedRun | None:
    (rows,) = await session.run(("cron_runs/skip_run", tick), commit=True)
    return _SkippedRun(**rows[0]) if rows else None

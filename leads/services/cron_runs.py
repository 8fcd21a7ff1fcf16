"""The runs of the crons: each tick once, one run of a cron at a time, each with a stored report.

A run is a row of pancake_cron_run. Its lock is a session lock, which PostgreSQL releases when the process
dies; the next delivery of the tick then takes the row over. What a run needs to continue is kept in the row's
report under `state`.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from leads.adapters.clock import Clock
from leads.adapters.database import Database, Row, Statement
from leads.adapters.graphql import GraphqlClient
from leads.adapters.hasura_calls import CronCall
from leads.adapters.http import Answer
from leads.adapters.logs import LOGGER, describe
from leads.adapters.metrics import Metrics
from leads.domain.errors import HasuraUnavailable, IntegrationError, Retryable, Unavailable
from leads.domain.notifications import NEEDS_ATTENTION
from leads.services.outbox import send_notifications

MAX_ITEMS_PER_ANSWERED_LIST = 20
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


@dataclass(frozen=True, slots=True)
class AdminNotice:
    """What the active admins are notified of. Diva's notification service sends the same `key` once."""

    key: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class CronReport:
    """The result of a run. `statements` are run in the transaction that stores `body`, the stored report.

    `window` is the period of time that was covered. `problem` makes the run fail. An `unfinished` run is
    delivered again and finds its `state`.
    """

    body: dict[str, object]
    window: tuple[datetime | None, datetime | None] = (None, None)
    statements: tuple[Statement, ...] = ()
    notices: tuple[AdminNotice, ...] = ()
    problem: str | None = None
    unfinished: bool = False


@dataclass(slots=True)
class CronRun:
    """One execution of a cron. `now` does not change during the run.

    `state` is a JSON object; it is stored when the run ends, and given to the next delivery of the same tick
    until one succeeds.
    """

    id: int
    scheduled_time: datetime
    now: datetime
    payload: dict[str, Any]
    seconds_left: Callable[[], float]
    state: dict[str, Any] = field(default_factory=dict)


CronWork = Callable[[CronRun], Awaitable[CronReport]]


@dataclass(frozen=True, slots=True)
class _UnnotifiedRow:
    """A row of cron_runs/list_unnotified."""

    id: int
    notifications: list[dict[str, object]]


class CronRuns:
    """Runs the work of a cron for a tick, if the tick is due and no other run of the cron is under way."""

    def __init__(self, db: Database, graphql: GraphqlClient, metrics: Metrics, clock: Clock) -> None:
        self._db = db
        self._graphql = graphql
        self._metrics = metrics
        self._clock = clock

    async def run(self, call: CronCall, work: CronWork, *, stop_after_seconds: float) -> Answer:
        """Answer `{result, report}`; `work` should stop by itself after `stop_after_seconds`.

        Raises RunUnfinished, RunUnderWay, RunFailed, and what `work` raises, after storing it.
        """
        name = call.name.removeprefix("pancake_")
        now = self._clock.now()
        tick = {"name": name, "scheduled_time": call.scheduled_time, "now": now}
        async with self._db.exclusive(name) as (is_free, session):
            statement = ("cron_runs/start_run" if is_free else "cron_runs/skip_run", tick)
            (rows,) = await session.run(statement, commit=True)
            row = rows[0] if rows else None
            if row is None or not is_free:
                return self._answer_not_run(name, row)
            if row["outcome"] == "skipped":
                return self._answer_skipped(name, "A later run did this work.")
            deadline = self._clock.monotonic() + stop_after_seconds
            run = CronRun(
                id=row["id"],
                scheduled_time=call.scheduled_time,
                now=now,
                payload=dict(call.payload),
                seconds_left=lambda: deadline - self._clock.monotonic(),
                state=row["report"].get("state", {}),
            )
            return await self._work(name, run, work)

    async def send_unnotified(self, now: datetime, lease: timedelta) -> int:
        """Send the notifications of runs that ended longer than `lease` ago; return for how many runs."""
        params = {"now": now, "names": list(CRONS), "lease": lease}
        rows = await self._db.fetch_all("cron_runs/list_unnotified", params, _UnnotifiedRow)
        return sum([await self._send(row.id, row.notifications) for row in rows])

    async def _send(self, run_id: int, notifications: list[dict[str, object]]) -> bool:
        """Send the notifications of a stored run; what fails is left to retry_failed."""
        try:
            await send_notifications(self._graphql, self._metrics, notifications)
        except HasuraUnavailable as error:
            fields = {"run": run_id, "reason": str(error)}
            LOGGER.warning("notifications deferred", extra={"fields": fields})
            self._metrics.notifications.labels("failed").inc()
            return False
        await self._db.fetch_all("cron_runs/mark_notified", {"id": run_id, "now": self._clock.now()})
        return True

    def _answer_not_run(self, name: str, row: Row | None) -> Answer:
        if row is not None and row["outcome"] == "running":
            raise RunUnderWay
        if row is not None and row["outcome"] == "skipped":
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
            await self._send(run.id, notifications)
        if report.unfinished:
            raise RunUnfinished
        answer = self._count(name, {"result": outcome, "report": shorten(report.body)})
        if report.problem:
            raise RunFailed(report.problem)
        return answer

    async def _store_error(self, run: CronRun, error: Exception) -> None:
        is_ours = isinstance(error, IntegrationError)
        # The text of a foreign exception may quote personal data.
        problem = str(error) if is_ours else "{error}, digest {digest}".format(**describe(error))
        await self._store(run, "failed", {"state": run.state}, CronReport({}, problem=problem))

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
        rows = await self._db.fetch_all("cron_runs/load_recipients", {"role": "admin"})
        if not rows:
            # The service refuses a notification without recipients, which would be sent again every minute.
            keys = [notice.key for notice in report.notices]
            LOGGER.warning(
                "notifications dropped", extra={"fields": {"reason": "no active admin", "keys": keys}}
            )
            return []
        return [
            {
                "template_code": NEEDS_ATTENTION,
                "recipient_ids": [row["id"] for row in rows],
                "data": {"reason": notice.reason, "detail": notice.detail},
                "idempotency_key": notice.key,
            }
            for notice in report.notices
        ]

    def _count(self, name: str, answer: Answer) -> Answer:
        self._metrics.cron_runs.labels(name, answer["result"]).inc()
        return answer


def shorten(body: object) -> object:
    """Return a report as it is answered and logged: long lists as their length, times as text."""
    if isinstance(body, dict):
        return {key: shorten(value) for key, value in body.items()}
    if isinstance(body, datetime):
        return body.isoformat()
    if isinstance(body, (list, tuple)):
        is_short = len(body) <= MAX_ITEMS_PER_ANSWERED_LIST
        return [shorten(item) for item in body] if is_short else f"{len(body)} items"
    return body

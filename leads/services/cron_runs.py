"""The attendance register of the crons: each tick once, never two of one name at a time, each with a report.

A run is a row of pancake_cron_run. Its lock is a session lock, so it is free as soon as its process dies, and
the next delivery of the tick takes the row over. What a run has to remember is kept in the row under `state`.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from leads.adapters.clock import Clock
from leads.adapters.database import Database, Row, Statement
from leads.adapters.graphql import Graphql
from leads.adapters.hasura_calls import CronCall
from leads.adapters.logs import LOGGER, describe
from leads.adapters.metrics import Metrics
from leads.domain.errors import HasuraUnavailable, IntegrationError, Retryable, Unavailable
from leads.services.outbox import hand_over

Answer = dict[str, Any]
BRIEF_LENGTH = 20
CRONS = (
    "sync_sources",
    "check_connection",
    "retry_failed",
    "check_sla",
    "purge_events",
    "poll_records",
    "reconcile_daily",
)
"""The names in the register; Hasura's have `pancake_` before them."""


class RunUnfinished(Unavailable):
    """The run used up its time and goes on where it stopped when this tick is delivered again."""

    code = "run_unfinished"
    retry_after = 1


class RunUnderWay(Unavailable):
    """This very tick is being worked on."""

    code = "run_under_way"
    retry_after = 5


class RunFailed(Retryable):
    """The run did not do all of its work; its report says what is missing."""

    code = "run_failed"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the active staff of a role should know; the same `key` is told once."""

    key: str
    reason: str
    detail: str
    role: str = "admin"


@dataclass(frozen=True, slots=True)
class Report:
    """What a run brought. `statements` are carried out in the transaction that stores the report.

    `problem` makes the run fail; an `unfinished` run is delivered again and finds its `state`.
    """

    body: dict[str, Any]
    window: tuple[datetime | None, datetime | None] = (None, None)
    statements: tuple[Statement, ...] = ()
    notices: tuple[Notice, ...] = ()
    problem: str | None = None
    unfinished: bool = False


@dataclass
class Run:
    """One run at work. `now` is the same all through it; `state` survives until the tick is finished."""

    id: int
    scheduled_time: datetime
    now: datetime
    payload: dict[str, Any]
    time_left: Callable[[], float]
    state: dict[str, Any] = field(default_factory=dict)


class Register:
    """Runs a cron's work for a tick, if it is due and nobody else is at it.

    `template_code` is the template of what needs attention, by which notices are told.
    """

    def __init__(
        self, db: Database, graphql: Graphql, metrics: Metrics, clock: Clock, template_code: str
    ) -> None:
        self._db = db
        self._graphql = graphql
        self._metrics = metrics
        self._clock = clock
        self._template_code = template_code

    async def run(
        self, call: CronCall, work: Callable[[Run], Awaitable[Report]], *, seconds: float
    ) -> Answer:
        """Answers `{result, report}`; `work` should stop by itself after `seconds`.

        Raises RunUnfinished, RunUnderWay, RunFailed, and whatever `work` raises, after noting it.
        """
        name = call.name.removeprefix("pancake_")
        now = self._clock.now()
        tick = {"name": name, "scheduled_time": call.scheduled_time, "now": now}
        async with self._db.exclusive(name) as (free, session):
            statement = "cron_runs/start_run" if free else "cron_runs/skip_run"
            (rows,) = await session.run((statement, tick), commit=True)
            row = rows[0] if rows else None
            if row is None or not free:
                return self._not_run(name, row)
            if row["outcome"] == "skipped":
                return self._count(name, {"result": "skipped", "reason": "a later run did its work"})
            deadline = self._clock.monotonic() + seconds
            run = Run(
                id=row["id"],
                scheduled_time=call.scheduled_time,
                now=now,
                payload=dict(call.payload),
                time_left=lambda: deadline - self._clock.monotonic(),
                state=row["report"].get("state", {}),
            )
            return await self._work(name, run, work)

    async def notify(self, run_id: int, notifications: list[dict[str, Any]]) -> bool:
        """Send the notifications of a finished run; what fails is left to retry_failed."""
        try:
            await hand_over(self._graphql, self._metrics, notifications)
        except HasuraUnavailable as error:
            fields = {"run": run_id, "reason": str(error)}
            LOGGER.warning("notifications of a run left for the retry cron", extra={"fields": fields})
            self._metrics.notifications.labels("failed").inc()
            return False
        await self._db.fetch_all("cron_runs/mark_notified", {"id": run_id, "now": self._clock.now()})
        return True

    def _not_run(self, name: str, row: Row | None) -> Answer:
        if row is not None and row["outcome"] == "running":
            raise RunUnderWay
        if row is not None and row["outcome"] == "skipped":
            return self._count(name, {"result": "skipped", "reason": "another run of this cron is at work"})
        return self._count(name, {"result": "already_done"})

    async def _work(self, name: str, run: Run, work: Callable[[Run], Awaitable[Report]]) -> Answer:
        try:
            report = await work(run)
        except Exception as error:
            await self._failed(name, run, error)
            raise
        notifications = await self._notifications(report)
        outcome = "running" if report.unfinished else "failed" if report.problem else "succeeded"
        keeps_state = {"state": run.state} if outcome != "succeeded" and run.state else {}
        body = {**report.body, **keeps_state, "notifications": notifications}
        await self._store(run, outcome, body, report)
        if notifications:
            await self.notify(run.id, notifications)
        if report.unfinished:
            raise RunUnfinished
        answer = self._count(name, {"result": outcome, "report": brief(report.body)})
        if report.problem:
            raise RunFailed(report.problem)
        return answer

    async def _store(self, run: Run, outcome: str, body: dict[str, Any], report: Report) -> None:
        finish = {
            "id": run.id,
            "outcome": outcome,
            "now": self._clock.now(),
            "report": json.dumps(body, ensure_ascii=False, default=str),
            "error": report.problem,
            "window_from": report.window[0],
            "window_to": report.window[1],
        }
        async with self._db.transaction() as transaction:
            await transaction.run(*report.statements, ("cron_runs/finish_run", finish), commit=True)

    async def _failed(self, name: str, run: Run, error: Exception) -> None:
        known = isinstance(error, IntegrationError)
        text = str(error) if known else "{error}, digest {digest}".format(**describe(error))
        await self._store(run, "failed", {"state": run.state}, Report({}, problem=text))
        self._count(name, {"result": "failed"})

    async def _notifications(self, report: Report) -> list[dict[str, Any]]:
        """The inputs of sendNotifications for what a run has to say."""
        recipients: dict[str, list[str]] = {}
        for role in {notice.role for notice in report.notices}:
            rows = await self._db.fetch_all("cron_runs/load_recipients", {"role": role})
            recipients[role] = [row["id"] for row in rows]
            if not rows:
                LOGGER.warning("nobody of this role is there to be told", extra={"fields": {"role": role}})
        return [
            {
                "template_code": self._template_code,
                "recipient_ids": recipients[notice.role],
                "data": {"reason": notice.reason, "detail": notice.detail},
                "idempotency_key": notice.key,
            }
            for notice in report.notices
            if recipients[notice.role]
        ]

    def _count(self, name: str, answer: Answer) -> Answer:
        self._metrics.cron_runs.labels(name, answer["result"]).inc()
        return answer


def brief(body: Any) -> Any:
    """A report as it is answered and logged: long lists by their length only, times as text."""
    if isinstance(body, dict):
        return {key: brief(value) for key, value in body.items()}
    if isinstance(body, datetime):
        return body.isoformat()
    if isinstance(body, (list, tuple)):
        return [brief(item) for item in body] if len(body) <= BRIEF_LENGTH else f"{len(body)} items"
    return body

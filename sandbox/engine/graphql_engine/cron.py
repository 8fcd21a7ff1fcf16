"""Cron triggers: schedules in UTC, events that are generated ahead, and the loops that deliver them.

Facts: the engine's `Eventing/ScheduledTrigger`. One loop delivers all due events at once, and waits for the
slowest webhook before it sleeps and looks again. So one slow cron delays every cron. The current time is
always an argument of what reads and writes the tables, so that the clock can be moved.
"""

import json
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
from croniter import CroniterBadDateError, croniter
from psycopg import AsyncConnection, Error
from psycopg_pool import PoolTimeout

from graphql_engine.engine import Engine
from graphql_engine.errors import QErr, unexpected
from graphql_engine.metadata.access import DEFAULT_CRON_RETRY
from graphql_engine.rawjson import canonical
from graphql_engine.webhooks import Reply, deliver, logged_request, of_event

# minute, hour, day of month, month, day of week: croniter alone would accept a sixth field, seconds
FIELDS = 5
RANGE = re.compile(r"(\d+)-(\d+)")
NAMED = {
    "@yearly": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@hourly": "0 * * * *",
}


def read_schedule(text: object) -> str:
    """Return a schedule of five fields; `@daily` becomes `0 0 * * *`.

    Raises QErr `parse-failed` for anything else, `unexpected` for a schedule that never comes due.
    """
    refused = QErr("parse-failed", f"invalid cron schedule: {text}", "$.schedule")
    if not isinstance(text, str) or text != text.lstrip():
        raise refused
    fields = NAMED.get(text, text)
    if len(fields.split()) != FIELDS or any(int(a) > int(b) for a, b in RANGE.findall(fields)):
        raise refused
    try:
        croniter(fields)
    except ValueError as error:
        raise refused from error
    try:
        croniter(fields, datetime.now(UTC)).get_next(datetime)
    except CroniterBadDateError as error:
        raise unexpected("database query error") from error
    return fields


def next_times(schedule: str, after: datetime, count: int) -> list[datetime]:
    ticks = croniter(schedule, after.astimezone(UTC))
    return [ticks.get_next(datetime) for _ in range(count)]


def parse_time(text: object) -> datetime:
    """Parse an ISO time with a zone. Raises QErr `parse-failed`."""
    refused = QErr("parse-failed", f"could not parse date: {text}", "$.schedule_at")
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise refused from error
    if moment.tzinfo is None:
        raise refused
    return moment


def shown_time(moment: datetime) -> str:
    """Format a time for webhook bodies: UTC with a trailing Z."""
    plain = moment.astimezone(UTC).replace(tzinfo=None)
    return plain.isoformat() + "Z"


# A trigger with fewer upcoming events gets as many more, as in the engine.
GENERATED_EVENTS = 100


@dataclass(frozen=True)
class Due:
    """A locked event with the configuration of its trigger."""

    id: str
    scheduled_time: datetime
    tries: int
    trigger: dict[str, Any]


async def generate(connection: AsyncConnection, name: str, schedule: str, now: datetime) -> int:
    """Generate the next 100 events of a trigger if fewer are upcoming; return the number generated."""
    cursor = await connection.execute(
        "SELECT count(*) FILTER (WHERE scheduled_time > %(now)s), max(scheduled_time)"
        " FROM hdb_catalog.hdb_cron_events"
        " WHERE trigger_name = %(name)s AND status = 'scheduled' AND tries = 0",
        {"name": name, "now": now},
    )
    row = await cursor.fetchone()
    assert row is not None
    upcoming, latest = row
    if upcoming >= GENERATED_EVENTS:
        return 0
    ticks = next_times(schedule, latest or now, GENERATED_EVENTS)
    cursor = await connection.execute(
        "INSERT INTO hdb_catalog.hdb_cron_events (trigger_name, scheduled_time)"
        " SELECT %s, unnest(%s::timestamptz[]) ON CONFLICT DO NOTHING",
        [name, ticks],
    )
    return cursor.rowcount


async def delete_future(connection: AsyncConnection, names: list[str], now: datetime) -> None:
    """Delete the untried events of triggers that were removed or changed."""
    await connection.execute(
        "DELETE FROM hdb_catalog.hdb_cron_events"
        " WHERE trigger_name = ANY(%s) AND scheduled_time > %s AND tries = 0 AND status = 'scheduled'",
        [names, now],
    )


async def fetch(connection: AsyncConnection, triggers: dict[str, dict[str, Any]], now: datetime) -> list[Due]:
    """Lock the due events of the triggers (by name) and return them, oldest first."""
    query = """
        UPDATE hdb_catalog.hdb_cron_events AS e SET status = 'locked'
        WHERE e.id IN (
            SELECT id FROM hdb_catalog.hdb_cron_events
            WHERE status = 'scheduled' AND trigger_name = ANY(%(names)s)
              AND ((next_retry_at IS NULL AND scheduled_time <= %(now)s) OR next_retry_at <= %(now)s)
            ORDER BY scheduled_time FOR UPDATE SKIP LOCKED
        ) RETURNING e.id, e.scheduled_time, e.tries, e.trigger_name
    """
    cursor = await connection.execute(query, {"names": list(triggers), "now": now})
    rows = await cursor.fetchall()
    found = [Due(id_, time, tries, triggers[name]) for id_, time, tries, name in rows]
    return sorted(found, key=lambda due: due.scheduled_time)


async def set_status(connection: AsyncConnection, due: Due, status: str) -> None:
    query = "UPDATE hdb_catalog.hdb_cron_events SET status = %s WHERE id = %s"
    await connection.execute(query, [status, due.id])


async def record(
    connection: AsyncConnection, due: Due, status: int | None, request: str, response: dict[str, Any]
) -> None:
    """Log one invocation and count the try."""
    await connection.execute(
        "INSERT INTO hdb_catalog.hdb_cron_event_invocation_logs (event_id, status, request, response)"
        " VALUES (%s, %s, %s, %s)",
        [due.id, status, request, json.dumps(response).replace("\\u0000", "")],
    )
    query = "UPDATE hdb_catalog.hdb_cron_events SET tries = tries + 1 WHERE id = %s"
    await connection.execute(query, [due.id])


async def retry_at(connection: AsyncConnection, due: Due, now: datetime, delay: float) -> None:
    """Set an event back to scheduled, due again after `delay` seconds."""
    query = "UPDATE hdb_catalog.hdb_cron_events SET status = 'scheduled', next_retry_at = %s WHERE id = %s"
    await connection.execute(query, [now + timedelta(seconds=delay), due.id])


async def unlock(connection: AsyncConnection, ids: list[str] | None = None) -> None:
    """Set locked events back to scheduled: those given, or all of them."""
    await connection.execute(
        "UPDATE hdb_catalog.hdb_cron_events SET status = 'scheduled'"
        " WHERE status = 'locked' AND (%(ids)s::text[] IS NULL OR id = ANY(%(ids)s::text[]))",
        {"ids": ids},
    )


log = logging.getLogger("graphql_engine.cron")
GENERATE_EVERY_SECONDS = 60.0


class Scheduler:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._locked: set[str] = set()

    async def run(self) -> None:
        """Run until the engine stops, then finish the deliveries in flight."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._repeat, self._generate, GENERATE_EVERY_SECONDS)
            group.start_soon(self._repeat, self._look, self._engine.settings.scheduled_fetch_seconds)

    async def unlock(self) -> None:
        """Unlock the events that a cancelled shutdown left locked."""
        async with self._engine.pool.connection() as connection:
            await unlock(connection, list(self._locked))

    async def _repeat(self, work: Callable[[], Awaitable[None]], pause_seconds: float) -> None:
        """Work, then sleep until the pause is over or the clock is moved, until the engine stops."""
        while not self._engine.stop.is_set():
            nudges = self._engine.clock.nudges
            try:
                await work()
            except (Error, PoolTimeout) as error:
                log.error("scheduled events could not be read: %s", error)
            await self._engine.clock.sleep(pause_seconds, nudges)

    async def _look(self) -> None:
        """Deliver what is due, all at once, and wait for the slowest."""
        async with self._engine.pool.connection() as connection:
            due = await fetch(connection, self._engine.cron_triggers, self._engine.clock.now())
        self._locked.update(each.id for each in due)
        async with anyio.create_task_group() as group:
            for each in due:
                group.start_soon(self._process, each)

    async def _generate(self) -> None:
        async with self._engine.pool.connection() as connection:
            for trigger in self._engine.cron_triggers.values():
                await generate(connection, trigger["name"], trigger["schedule"], self._engine.clock.now())

    async def _process(self, due: Due) -> None:
        try:
            await self._deliver(due)
        except (Error, PoolTimeout) as error:
            log.error("scheduled event %s stays locked: %s", due.id, error)
        self._locked.discard(due.id)

    async def _deliver(self, due: Due) -> None:
        retry = {**DEFAULT_CRON_RETRY, **(due.trigger.get("retry_conf") or {})}
        age = (self._engine.clock.now() - due.scheduled_time).total_seconds()
        if age > retry["tolerance_seconds"]:
            async with self._engine.pool.connection() as connection:
                await set_status(connection, due, "dead")
            return
        body = webhook_body(due)
        is_late = False
        environment, seconds = self._engine.settings.environment, float(retry["timeout_seconds"])
        trace = of_event(None) if self._engine.is_traced else None
        try:
            reply = await deliver(self._engine.http, due.trigger, environment, body, seconds, trace)
        except TimeoutError:
            reason = f'Cron Scheduled event "{due.id}" timed out while processing.'
            is_late, body, reply = True, json.dumps({"error": reason}), Reply(500, json.dumps(reason))
        request = logged_request(body, due.trigger.get("headers"), "1", late=is_late)
        await self._record(due, retry, request, reply)

    async def _record(self, due: Due, retry: dict[str, Any], request: str, reply: Reply) -> None:
        response = {**reply.logged(), "version": "1"}
        async with self._engine.pool.connection() as connection, connection.transaction():
            await record(connection, due, reply.status, request, response)
            if reply.succeeded:
                await set_status(connection, due, "delivered")
            elif reply.retry_after is None and due.tries >= retry["num_retries"]:
                await set_status(connection, due, "error")
            else:
                wait = reply.retry_after or float(retry["retry_interval_seconds"])
                await retry_at(connection, due, self._engine.clock.now(), wait)


def webhook_body(due: Due) -> str:
    body: dict[str, Any] = {
        "id": due.id,
        "scheduled_time": shown_time(due.scheduled_time),
        "name": due.trigger["name"],
        "payload": due.trigger.get("payload"),
    }
    if due.trigger.get("comment") is not None:
        body["comment"] = due.trigger["comment"]
    return canonical(body)

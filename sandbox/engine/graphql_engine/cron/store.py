"""The tables of cron events: generation, fetching, states.

Facts: the queries of the engine's `Eventing/ScheduledTrigger`. The current time is always an argument, so
that the clock can be moved.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from graphql_engine.cron.schedule import next_times

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

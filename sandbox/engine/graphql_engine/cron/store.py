"""The tables of scheduled events: generation, fetching, states.

Facts: the queries of the engine's `Eventing/ScheduledTrigger`. The current time is always an argument, so
that the clock can be moved.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from graphql_engine.cron.schedule import next_times

# A trigger with fewer upcoming events gets as many more, as in the engine.
GENERATED_EVENTS = 100
EVENTS = {"cron": "hdb_cron_events", "one_off": "hdb_scheduled_events"}
LOGS = {"cron": "hdb_cron_event_invocation_logs", "one_off": "hdb_scheduled_event_invocation_logs"}


@dataclass(frozen=True)
class Due:
    """A locked event of either kind (`cron` or `one_off`) with its configuration."""

    kind: str
    id: str
    scheduled_time: datetime
    tries: int
    config: dict[str, Any]
    created_at: str | None = None


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


async def fetch(
    connection: AsyncConnection, kind: str, names: list[str], now: datetime
) -> list[dict[str, Any]]:
    """Lock the due events and return their rows, oldest first."""
    known = "AND trigger_name = ANY(%(names)s)" if kind == "cron" else ""
    query = f"""
        UPDATE hdb_catalog.{EVENTS[kind]} AS e SET status = 'locked'
        WHERE e.id IN (
            SELECT id FROM hdb_catalog.{EVENTS[kind]}
            WHERE status = 'scheduled' {known}
              AND ((next_retry_at IS NULL AND scheduled_time <= %(now)s) OR next_retry_at <= %(now)s)
            ORDER BY scheduled_time FOR UPDATE SKIP LOCKED
        ) RETURNING e.*, to_json(timezone('UTC', e.created_at))#>>'{{}}' AS created
    """
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(query.encode(), {"names": names, "now": now})
    rows = await cursor.fetchall()
    return sorted(rows, key=lambda row: row["scheduled_time"])


async def set_status(connection: AsyncConnection, due: Due, status: str) -> None:
    query = f"UPDATE hdb_catalog.{EVENTS[due.kind]} SET status = %s WHERE id = %s"
    await connection.execute(query.encode(), [status, due.id])


async def record(
    connection: AsyncConnection, due: Due, status: int | None, request: str, response: dict[str, Any]
) -> None:
    """Log one invocation and count the try."""
    query = (
        f"INSERT INTO hdb_catalog.{LOGS[due.kind]} (event_id, status, request, response)"
        " VALUES (%s, %s, %s, %s)"
    )
    await connection.execute(
        query.encode(), [due.id, status, request, json.dumps(response).replace("\\u0000", "")]
    )
    query = f"UPDATE hdb_catalog.{EVENTS[due.kind]} SET tries = tries + 1 WHERE id = %s"
    await connection.execute(query.encode(), [due.id])


async def retry_at(connection: AsyncConnection, due: Due, now: datetime, delay: float) -> None:
    """Set an event back to scheduled, due again after `delay` seconds."""
    query = (
        f"UPDATE hdb_catalog.{EVENTS[due.kind]} SET status = 'scheduled', next_retry_at = %s WHERE id = %s"
    )
    await connection.execute(query.encode(), [now + timedelta(seconds=delay), due.id])


async def unlock(connection: AsyncConnection, kind: str, ids: list[str] | None = None) -> None:
    """Set locked events back to scheduled: those given, or all of them."""
    query = f"UPDATE hdb_catalog.{EVENTS[kind]} SET status = 'scheduled' WHERE status = 'locked'"
    if ids is None:
        await connection.execute(query.encode())
    else:
        await connection.execute((query + " AND id = ANY(%s)").encode(), [ids])

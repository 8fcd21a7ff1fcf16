"""Write results to the event log, and serve the metadata API's operations on it.

Facts: the queries at the end of the engine's `Backends/Postgres/DDL/EventTrigger`.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal

from psycopg import AsyncConnection

from graphql_engine.errors import QErr

LOGGED = """
WITH logged AS (
  INSERT INTO hdb_catalog.event_invocation_logs (event_id, trigger_name, status, request, response)
  VALUES (%(id)s, %(trigger)s, %(status)s, %(request)s, %(response)s)
)
UPDATE hdb_catalog.event_log SET locked = NULL, tries = tries + 1, """
STATES = {
    "delivered": "delivered = true, next_retry_at = NULL",
    "error": "error = true, next_retry_at = NULL",
    "retry": "next_retry_at = now() + make_interval(secs => %(delay)s)",
}
FINISH = {kind: f"{LOGGED}{state} WHERE id = %(id)s".encode() for kind, state in STATES.items()}


@dataclass(frozen=True)
class Outcome:
    """The result of a delivery; `delay` is in seconds and used for a retry only."""

    kind: Literal["delivered", "retry", "error"]
    delay: float = 0.0


DELIVERED = Outcome("delivered")
FAILED = Outcome("error")


async def finish(
    connection: AsyncConnection,
    event_id: str,
    trigger: str,
    status: int | None,
    request: str,
    response: dict[str, Any],
    outcome: Outcome,
) -> None:
    """Log the invocation and set the state of the event, in one statement."""
    parameters: dict[str, Any] = {
        "id": event_id,
        "trigger": trigger,
        "status": status,
        "request": request,
        "response": json.dumps(response).replace("\\u0000", ""),
    }
    if outcome.kind == "retry":
        parameters["delay"] = outcome.delay
    await connection.execute(FINISH[outcome.kind], parameters)


async def retry_later(connection: AsyncConnection, event_id: str, delay: float) -> None:
    """Unlock an event and try it again after `delay` seconds, without counting a try."""
    await connection.execute(
        "UPDATE hdb_catalog.event_log SET next_retry_at = now() + make_interval(secs => %s), locked = NULL"
        " WHERE id = %s",
        [delay, event_id],
    )


async def unlock(connection: AsyncConnection, event_ids: list[str]) -> int:
    """Unlock those of the events that are still locked; return their number."""
    cursor = await connection.execute(
        "UPDATE hdb_catalog.event_log SET locked = NULL WHERE id = ANY(%s) AND locked IS NOT NULL",
        [event_ids],
    )
    return cursor.rowcount


async def redeliver(connection: AsyncConnection, event_id: str) -> None:
    """Make an event pending again; its `next_retry_at` stays.

    Raises QErr `not-exists` or `busy`.
    """
    async with connection.transaction():
        cursor = await connection.execute(
            "SELECT locked IS NOT NULL AND locked >= now() - interval '30 minute'"
            " FROM hdb_catalog.event_log WHERE id = %s",
            [event_id],
        )
        row = await cursor.fetchone()
        if row is None:
            raise QErr("not-exists", "event not found")
        if row[0]:
            raise QErr("busy", "event is already being processed")
        await connection.execute(
            "UPDATE hdb_catalog.event_log SET delivered = false, error = false, tries = 0 WHERE id = %s",
            [event_id],
        )

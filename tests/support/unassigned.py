"""Tickets that our events created and that have no owner."""

import json
from datetime import datetime
from typing import Any

from leads.services.cron_work import CronRun
from leads.services.runtime import Runtime
from leads.services.unassigned_tickets import assign_tickets
from tests.support.seeding import DatabaseHarness

ALL_OFF_DUTY = "UPDATE staff SET on_duty = false WHERE role = 'telesale'"
ALL_ON_DUTY = "UPDATE staff SET on_duty = true WHERE role = 'telesale'"
SEED = """
    WITH new AS (
        INSERT INTO ticket (id, title, source_id, data, created_at)
        SELECT
            md5(%(record)s || n)::uuid, 'Lead', 'ticket_source_pancake',
            jsonb_build_object('pancake', jsonb_build_object('name', 'Khách ' || n)),
            %(created_at)s::timestamptz + n * interval '1 second'
        FROM generate_series(1, %(count)s) AS n
        RETURNING id
    )
    INSERT INTO pancake_webhook_event (
        connection_id, origin, record_id, payload_hash, payload, status, outcome, source_ids, ticket_id,
        normalized_phone, evidence, arrived_at, created_at, processed_at, notified_at
    )
    SELECT
        %(connection_id)s, 'webhook', %(record)s || n, sha256(n::text::bytea), '{}', 'processed',
        'ticket_created', %(source_ids)s, md5(%(record)s || n)::uuid, '+849' || (10000000 + n),
        %(evidence)s, c.at, c.at, c.at, c.at
    FROM generate_series(1, %(count)s) AS n
    CROSS JOIN (SELECT %(created_at)s::timestamptz AS at) AS c
    WHERE (SELECT count(*) FROM new) > 0
    RETURNING id
"""


def seed_unassigned(
    harness: DatabaseHarness,
    connection_id: str,
    count: int,
    *,
    record: str = "night",
    sources: tuple[str, ...] = ("-1",),
    created_at: str = "2026-05-14T18:00:00Z",
) -> list[int]:
    """Insert processed events, one second after the other, whose tickets have no owner; return their ids."""
    params: dict[str, Any] = {
        "connection_id": connection_id,
        "count": count,
        "record": record,
        "source_ids": list(sources),
        "created_at": created_at,
        "evidence": json.dumps({"assignment": {"roster": [], "skipped": [], "chosen": None}}),
    }
    harness.sql("ALTER TABLE pancake_webhook_event DISABLE TRIGGER USER")
    rows = harness.session.execute(SEED, params).fetchall()
    harness.sql("ALTER TABLE pancake_webhook_event ENABLE TRIGGER USER")
    return [row["id"] for row in rows]


def ticket_of(harness: DatabaseHarness, event_id: int) -> dict[str, Any]:
    """Return the ticket that an event created."""
    return harness.one(
        "SELECT t.* FROM ticket AS t JOIN pancake_webhook_event AS e ON e.ticket_id = t.id WHERE e.id = %s",
        event_id,
    )


def owners(harness: DatabaseHarness) -> dict[str, int]:
    """Count the tickets of each owner."""
    rows = harness.sql(
        "SELECT t.assignee_id::text AS owner, count(*) AS tickets FROM ticket AS t"
        " WHERE t.source_id = 'ticket_source_pancake' AND t.assignee_id IS NOT NULL GROUP BY t.assignee_id"
    )
    return {row["owner"]: row["tickets"] for row in rows}


def new_run(now: datetime) -> CronRun:
    """A run of `retry_failed` with time left, outside the lock that lets runs follow each other."""
    return CronRun(id=0, scheduled_time=now, now=now, payload={}, seconds_left=lambda: 40.0)


async def assign_once(runtime: Runtime) -> dict[str, object]:
    """Do the step of `retry_failed` alone."""
    return await assign_tickets(runtime, new_run(runtime.clock.now()))

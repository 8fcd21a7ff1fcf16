"""Fire our event trigger for the rows that were stored while the engine did not have it."""

import time

from ops.metadata.engine import Engine

BATCH = 500
"""As many as retry_failed fires at once: new leads do not stand behind a long backlog."""
MAX_FIRING_SECONDS = 60.0
CHECK_INTERVAL_SECONDS = 0.5

PENDING = """
    SELECT (l.payload -> 'data' -> 'new' ->> 'id')::bigint AS id
    FROM hdb_catalog.event_log AS l
    WHERE
        l.delivered = 'f' AND l.error = 'f' AND l.archived = 'f'
        AND l.trigger_name = 'pancake_webhook_event_status_update'
"""
COUNT_PENDING = f"SELECT count(*) FROM ({PENDING}) AS p"  # noqa: S608 - a constant
FIRE = f"""
    WITH pending AS MATERIALIZED ({PENDING}), fired AS (
        UPDATE public.pancake_webhook_event AS e
        SET status = 'received'
        WHERE
            e.id IN (
                SELECT r.id
                FROM public.pancake_webhook_event AS r
                WHERE r.status = 'received' AND NOT EXISTS (SELECT FROM pending AS p WHERE p.id = r.id)
                ORDER BY r.received_at
                LIMIT {BATCH}
                FOR UPDATE SKIP LOCKED
            )
            AND NOT (SELECT w.processing_paused FROM public.view_pancake_setting AS w)
        RETURNING e.id
    )
    SELECT count(*) FROM fired
"""  # noqa: S608 - constants
"""As retry_failed/refire_received, for rows of any age: what waits has lost its event, or never had one."""


def fire_waiting(engine: Engine, source: str, max_seconds: float = MAX_FIRING_SECONDS) -> int:
    """Fire the oldest rows first, a batch when most of the last one is delivered; return how many.

    Stops after `max_seconds`; retry_failed fires the others. Raises MetadataError, for example if the
    engine's role may not write our table.
    """
    deadline = time.monotonic() + max_seconds
    total = 0
    while True:
        fired = int(engine.run_sql(FIRE, source, read_only=False)[0][0])
        total += fired
        if fired < BATCH or time.monotonic() > deadline:
            return total
        while int(engine.run_sql(COUNT_PENDING, source)[0][0]) > BATCH // 5 and time.monotonic() < deadline:
            time.sleep(CHECK_INTERVAL_SECONDS)

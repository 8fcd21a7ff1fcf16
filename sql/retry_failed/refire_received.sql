-- Rows that lie in received without an event of the engine on its way: setting the status again fires the trigger.
-- Bounded: not while paused, not within 2 minutes, not if an event for the row is pending (one locked for over 2
-- minutes is not: its engine died), oldest first. Returns id.
-- Relies on ix_pancake_webhook_event_waiting and the engine's own partial index over pending events.
WITH pending AS MATERIALIZED (
    SELECT (l.payload -> 'data' -> 'new' ->> 'id')::bigint AS id
    FROM hdb_catalog.event_log AS l
    WHERE
        l.delivered = 'f' AND l.error = 'f' AND l.archived = 'f'
        AND l.trigger_name = 'pancake_webhook_event_status_update'
        AND (l.locked IS NULL OR l.locked > clock_timestamp() - interval '2 minutes')
)
UPDATE public.pancake_webhook_event AS e
SET status = 'received'
WHERE
    e.id IN (
        SELECT r.id
        FROM public.pancake_webhook_event AS r
        WHERE
            r.status = 'received'
            AND r.received_at < clock_timestamp() - interval '2 minutes'
            AND NOT EXISTS (SELECT FROM pending AS p WHERE p.id = r.id)
        ORDER BY r.received_at
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    )
    AND (SELECT app_settings -> 'pancake_integration' ->> 'processing_paused' FROM public.app_setting WHERE id = 1)
        IS DISTINCT FROM 'true'
RETURNING e.id

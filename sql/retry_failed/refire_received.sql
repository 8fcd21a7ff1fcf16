-- Fire the event trigger again for received events that have no pending Hasura event, by setting status to received again.
-- Limits: not while paused, not within 2 minutes, not if Hasura has a pending event for the row, oldest first. An event that
-- was locked more than 2 minutes ago is not pending: the Hasura instance that locked it died.
-- Returns id. Relies on ix_pancake_webhook_event_waiting and Hasura's partial index on pending events.
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
    AND NOT (SELECT w.processing_paused FROM public.pancake_switch() AS w)
RETURNING e.id

-- Fire the event trigger again for received events that have no pending Hasura event, by setting status to received again.
-- Limits: not while paused, not within `lease`, not if Hasura has a pending event for the row that is not locked for longer than
-- `lease`; oldest first.
-- Returns id. Relies on ix_pancake_webhook_event_waiting; pancake_pending_event_ids on Hasura's partial index on pending events.
WITH pending AS MATERIALIZED (
    SELECT p.id FROM public.pancake_pending_event_ids(%(lease)s) AS p (id)
)
UPDATE public.pancake_webhook_event AS e
SET status = 'received'
WHERE
    e.id IN (
        SELECT r.id
        FROM public.pancake_webhook_event AS r
        WHERE
            r.status = 'received'
            AND r.received_at < clock_timestamp() - %(lease)s::interval
            AND NOT EXISTS (SELECT FROM pending AS p WHERE p.id = r.id)
        ORDER BY r.received_at
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    )
    AND NOT (SELECT w.processing_paused FROM public.pancake_switch() AS w)
RETURNING e.id

-- Set failed events whose next attempt is due to received, oldest first, unless processing is paused.
-- Returns id. Relies on ix_pancake_webhook_event_retry.
UPDATE public.pancake_webhook_event AS e
SET status = 'received', next_attempt_at = NULL
WHERE
    e.id IN (
        SELECT f.id
        FROM public.pancake_webhook_event AS f
        WHERE f.status = 'failed' AND f.next_attempt_at <= %(now)s
        ORDER BY f.next_attempt_at
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    )
    AND NOT (SELECT w.processing_paused FROM public.pancake_switch() AS w)
RETURNING e.id

-- Set events whose claim expired (their handler died) to received, or to dead_letter after the last attempt.
-- Returns id and status. Uses the clock of the database. Relies on ix_pancake_webhook_event_waiting.
UPDATE public.pancake_webhook_event AS e
SET
    status = CASE WHEN e.attempts < %(max_attempts)s THEN 'received' ELSE 'dead_letter' END,
    error_code = CASE WHEN e.attempts < %(max_attempts)s THEN e.error_code ELSE 'claim_expired' END,
    error_detail = CASE WHEN e.attempts < %(max_attempts)s THEN e.error_detail ELSE 'The handler stopped before finishing each attempt.' END
WHERE
    e.id IN (
        SELECT c.id
        FROM public.pancake_webhook_event AS c
        WHERE c.status = 'ingested' AND c.ingested_at < clock_timestamp() - %(lease)s::interval
        ORDER BY c.received_at
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    )
    AND NOT (SELECT w.processing_paused FROM public.pancake_switch() AS w)
RETURNING e.id, e.status

-- Empty everything personal of one batch of old events that were processed late, because they were replayed: empty_payloads passed
-- them over while they were held.
-- Returns one row: changed. Relies on ix_pancake_webhook_event_replayed.
SELECT public.pancake_empty_events(ARRAY(
    SELECT o.id
    FROM public.pancake_webhook_event AS o
    WHERE
        o.replayed_at >= %(replayed_since)s
        AND o.created_at < %(before)s
        AND o.status = 'processed'
        AND (o.payload IS NOT NULL OR o.raw IS NOT NULL)
    ORDER BY o.replayed_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)) AS changed

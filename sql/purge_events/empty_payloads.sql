-- Empty everything personal of one batch of events of some statuses, by the time when they were stored.
-- Returns one row: changed. Relies on ix_pancake_webhook_event_created_at.
SELECT public.pancake_empty_events(ARRAY(
    SELECT o.id
    FROM public.pancake_webhook_event AS o
    WHERE
        o.created_at >= %(since)s AND o.created_at < %(before)s
        AND o.status = ANY (%(statuses)s)
        AND (o.payload IS NOT NULL OR o.raw IS NOT NULL)
    ORDER BY o.created_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)) AS changed

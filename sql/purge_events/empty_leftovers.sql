-- Empty one batch of old events whose body was emptied before and which have personal data again: a notification that was sent since,
-- or the corrected phone of a replay.
-- Returns one row: changed. Relies on ix_pancake_webhook_event_leftover.
SELECT public.pancake_empty_events(ARRAY(
    SELECT o.id
    FROM public.pancake_webhook_event AS o
    WHERE
        o.payload IS NULL AND o.raw IS NULL
        AND (o.normalized_phone IS NOT NULL OR o.notifications <> '[]'::jsonb OR o.evidence ? 'corrected_phone')
        AND o.created_at < %(before)s
        AND o.status = ANY (%(statuses)s)
        AND (o.notifications = '[]'::jsonb OR o.notified_at IS NOT NULL OR o.notify_given_up_at IS NOT NULL)
    ORDER BY o.id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)) AS changed

-- List events with unsent notifications that are due and that no sender has claimed: those that never failed, then those that have
-- waited longest since they were due.
-- Returns id, refusals and unknowns; at most `limit` of each kind. Relies on ix_pancake_webhook_event_unnotified.
(
    SELECT e.id, e.notify_refusals AS refusals, e.notify_unknowns AS unknowns
    FROM public.pancake_webhook_event AS e
    WHERE
        e.notified_at IS NULL
        AND e.notify_given_up_at IS NULL
        AND e.notifications <> '[]'::jsonb
        AND e.notify_next_at IS NULL
        AND (e.notify_claimed_at IS NULL OR e.notify_claimed_at < clock_timestamp() - %(lease)s::interval)
    -- The first column is null in all these rows. It is named because PostgreSQL then reads them in the order of the index.
    ORDER BY e.notify_next_at, e.id
    LIMIT %(limit)s
)
UNION ALL
(
    SELECT e.id, e.notify_refusals AS refusals, e.notify_unknowns AS unknowns
    FROM public.pancake_webhook_event AS e
    WHERE
        e.notified_at IS NULL
        AND e.notify_given_up_at IS NULL
        AND e.notifications <> '[]'::jsonb
        AND e.notify_next_at <= %(now)s
        AND (e.notify_claimed_at IS NULL OR e.notify_claimed_at < clock_timestamp() - %(lease)s::interval)
    ORDER BY e.notify_next_at, e.id
    LIMIT %(limit)s
)

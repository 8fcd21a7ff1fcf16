-- List runs with unsent notices that are due and that no sender has claimed: those that never failed, then those that have waited
-- longest since they were due.
-- Returns id, refusals and unknowns; at most `limit` of each kind. Relies on ix_pancake_cron_run_unnotified.
(
    SELECT r.id, r.notify_refusals AS refusals, r.notify_unknowns AS unknowns
    FROM public.pancake_cron_run AS r
    WHERE
        r.notified_at IS NULL
        AND r.notify_given_up_at IS NULL
        AND r.report -> 'notifications' <> '[]'::jsonb
        AND r.notify_next_at IS NULL
        AND (r.notify_claimed_at IS NULL OR r.notify_claimed_at < clock_timestamp() - %(lease)s::interval)
    -- The first column is null in all these rows. It is named because PostgreSQL then reads them in the order of the index.
    ORDER BY r.notify_next_at, r.id
    LIMIT %(limit)s
)
UNION ALL
(
    SELECT r.id, r.notify_refusals AS refusals, r.notify_unknowns AS unknowns
    FROM public.pancake_cron_run AS r
    WHERE
        r.notified_at IS NULL
        AND r.notify_given_up_at IS NULL
        AND r.report -> 'notifications' <> '[]'::jsonb
        AND r.notify_next_at <= %(now)s
        AND (r.notify_claimed_at IS NULL OR r.notify_claimed_at < clock_timestamp() - %(lease)s::interval)
    ORDER BY r.notify_next_at, r.id
    LIMIT %(limit)s
)

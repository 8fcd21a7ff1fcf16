-- Count the events with notifications that were not accepted yet, at most `most`, and those that were given up in the last day.
-- metrics/count_unsent has cron runs too, and none that were given up.
-- Returns one row: unsent, oldest_at (when the oldest of them was processed; null without one), given_up.
-- Relies on ix_pancake_webhook_event_unnotified and ix_pancake_webhook_event_given_up.
SELECT u.unsent, u.oldest_at, g.given_up
FROM (
    SELECT count(*) AS unsent, min(n.since) AS oldest_at
    FROM (
        SELECT coalesce(e.notify_unsent_since, e.processed_at, e.created_at) AS since
        FROM public.pancake_webhook_event AS e
        WHERE e.notified_at IS NULL AND e.notify_given_up_at IS NULL AND e.notifications <> '[]'::jsonb
        LIMIT %(most)s
    ) AS n
) AS u
CROSS JOIN (
    SELECT count(*) AS given_up
    FROM public.pancake_webhook_event AS e
    WHERE e.notify_given_up_at > %(now)s::timestamptz - interval '24 hours'
) AS g

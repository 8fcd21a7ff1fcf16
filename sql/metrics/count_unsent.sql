-- Count the rows with notifications that wait to be sent, 10,000 of each kind at most. Find since when the oldest of them waits.
-- Returns source (events, runs), unsent, oldest_at (null without one).
-- Relies on ix_pancake_webhook_event_unnotified and ix_pancake_cron_run_unnotified.
WITH unsent AS (
    -- Order and limit keep the planner from reading the tables: it cannot tell how few rows have notifications.
    (
        SELECT 'events' AS source, coalesce(e.notify_unsent_since, e.processed_at, e.created_at) AS since
        FROM public.pancake_webhook_event AS e
        WHERE e.notified_at IS NULL AND e.notify_given_up_at IS NULL AND e.notifications <> '[]'::jsonb
        ORDER BY e.notify_next_at, e.id
        LIMIT 10000
    )
    UNION ALL
    (
        SELECT 'runs', coalesce(r.notify_unsent_since, r.finished_at, r.started_at)
        FROM public.pancake_cron_run AS r
        WHERE r.notified_at IS NULL AND r.notify_given_up_at IS NULL AND r.report -> 'notifications' <> '[]'::jsonb
        ORDER BY r.notify_next_at, r.id
        LIMIT 10000
    )
)
SELECT s.source, count(u.source) AS unsent, min(u.since) AS oldest_at
FROM unnest(ARRAY['events', 'runs']) AS s (source)
LEFT JOIN unsent AS u USING (source)
GROUP BY s.source

-- Count the deliveries of the webhook in the last hour, and what is usual in that hour of the week: the median of the four weeks
-- before. Weeks from before the connection was created do not count.
-- Returns connection, deliveries, usual (null without such a week): one row per connection.
-- Relies on ix_pancake_webhook_event_created_at.
WITH hours AS (
    SELECT w.week, %(now)s::timestamptz - w.week * interval '7 days' AS until FROM generate_series(0, 4) AS w (week)
), counted AS (
    SELECT h.week, e.connection_id, count(*) AS deliveries
    FROM hours AS h
    -- OFFSET 0 keeps the planner from joining in another order: each hour is one range of the index.
    CROSS JOIN LATERAL (
        SELECT e.connection_id
        FROM public.pancake_webhook_event AS e
        WHERE e.created_at > h.until - interval '1 hour' AND e.created_at <= h.until AND e.origin = 'webhook'
        OFFSET 0
    ) AS e
    GROUP BY h.week, e.connection_id
)
SELECT
    c.id::text AS connection,
    coalesce(sum(n.deliveries) FILTER (WHERE h.week = 0), 0) AS deliveries,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY coalesce(n.deliveries, 0))
        FILTER (WHERE h.week > 0 AND c.created_at <= h.until - interval '1 hour') AS usual
FROM public.pancake_connection AS c
CROSS JOIN hours AS h
LEFT JOIN counted AS n ON n.week = h.week AND n.connection_id = c.id
GROUP BY c.id

-- Load how long the last 20 leads of a day took to be processed, and the last 20 deliveries of the webhook to be stored; and all
-- deliveries of the last hour. An idle hour has no histogram: these figures have a value as long as there was a lead in a day.
-- Returns stage (process, store), leads (20, 1h), p95_seconds, p99_seconds (both null without leads).
-- Relies on ix_pancake_webhook_event_created_at.
WITH newest AS (
    SELECT e.status, e.origin, e.created_at, e.arrived_at, e.processed_at, e.held_at IS NOT NULL OR e.replay_count > 0 AS apart
    FROM public.pancake_webhook_event AS e
    WHERE e.created_at > %(now)s::timestamptz - interval '1 day'
    ORDER BY e.created_at DESC
    LIMIT 500
), measured AS (
    (
        SELECT 'process' AS stage, '20' AS leads, n.processed_at - n.created_at AS duration
        FROM newest AS n
        WHERE n.status = 'processed' AND NOT n.apart
        ORDER BY n.created_at DESC
        LIMIT 20
    )
    UNION ALL
    (
        SELECT 'store', '20', n.created_at - n.arrived_at
        FROM newest AS n
        WHERE n.origin = 'webhook'
        ORDER BY n.created_at DESC
        LIMIT 20
    )
    UNION ALL
    SELECT 'store', '1h', e.created_at - e.arrived_at
    FROM public.pancake_webhook_event AS e
    WHERE e.created_at > %(now)s::timestamptz - interval '1 hour' AND e.origin = 'webhook'
)
SELECT
    s.stage,
    s.leads,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM m.duration)::float) AS p95_seconds,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM m.duration)::float) AS p99_seconds
FROM (VALUES ('process', '20'), ('store', '20'), ('store', '1h')) AS s (stage, leads)
LEFT JOIN measured AS m USING (stage, leads)
GROUP BY s.stage, s.leads

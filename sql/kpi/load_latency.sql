-- name: kpi/load_latency
-- KPI latency: seconds from created_at to the first time processed, retries included, of deliveries created in the window. A replay
-- of what was processed changes none of it.
-- Returns one row: events, p50_seconds, p95_seconds, p99_seconds, held (number of events that were held before they were first
-- processed, which the other figures leave out). Relies on ix_pancake_webhook_event_created_at.
WITH done AS (
    SELECT
        extract(epoch FROM p.at - e.created_at)::float AS seconds,
        COALESCE(e.held_at <= p.at, false) AS was_held
    FROM public.pancake_webhook_event AS e
    CROSS JOIN LATERAL (SELECT COALESCE(e.first_processed_at, e.processed_at) AS at) AS p
    WHERE e.created_at >= %(from)s AND e.created_at < %(to)s AND p.at IS NOT NULL
)
SELECT
    count(*) FILTER (WHERE NOT d.was_held) AS events,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY d.seconds) FILTER (WHERE NOT d.was_held) AS p50_seconds,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY d.seconds) FILTER (WHERE NOT d.was_held) AS p95_seconds,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY d.seconds) FILTER (WHERE NOT d.was_held) AS p99_seconds,
    count(*) FILTER (WHERE d.was_held) AS held
FROM done AS d

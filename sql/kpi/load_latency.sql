-- name: kpi/load_latency
-- KPI latency: seconds from created_at to processed_at, retries included, of deliveries created in the window.
-- Returns one row: events, p50_seconds, p95_seconds, p99_seconds, held_or_replayed (number of events once held or replayed by an
-- operator, which the other figures leave out). Relies on ix_pancake_webhook_event_created_at.
WITH done AS (
    SELECT
        extract(epoch FROM e.processed_at - e.created_at)::float AS seconds,
        public.pancake_event_was_held_or_replayed(e.held_at, e.replay_count) AS was_held_or_replayed
    FROM public.pancake_webhook_event AS e
    WHERE e.created_at >= %(from)s AND e.created_at < %(to)s AND e.status = 'processed'
)
SELECT
    count(*) FILTER (WHERE NOT d.was_held_or_replayed) AS events,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY d.seconds) FILTER (WHERE NOT d.was_held_or_replayed) AS p50_seconds,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY d.seconds) FILTER (WHERE NOT d.was_held_or_replayed) AS p95_seconds,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY d.seconds) FILTER (WHERE NOT d.was_held_or_replayed) AS p99_seconds,
    count(*) FILTER (WHERE d.was_held_or_replayed) AS held_or_replayed
FROM done AS d

-- Count the rows of the last hour that the counters of the processes have counted too: at least and at most how many.
-- Returns counter, least, most: one row for each of six counters.
-- Relies on ix_pancake_webhook_event_created_at, ix_pancake_webhook_event_replayed and uq_pancake_cron_run_tick.
WITH bounds AS (
    SELECT %(now)s::timestamptz - interval '1 hour' AS hour, %(now)s::timestamptz - interval '1 day' AS day
), known AS (
    -- What is processed now is of the last day, or was replayed. The times are given, not joined: else the planner expects a
    -- third of all rows, and scans a large table.
    SELECT e.id, e.status, e.error_code, e.origin, e.created_at, e.replayed_at, e.processed_at, e.attempts, e.notified_at, e.notifications
    FROM public.pancake_webhook_event AS e
    WHERE e.created_at > %(now)s::timestamptz - interval '1 day'
    UNION ALL
    SELECT e.id, e.status, e.error_code, e.origin, e.created_at, e.replayed_at, e.processed_at, e.attempts, e.notified_at, e.notifications
    FROM public.pancake_webhook_event AS e
    WHERE e.replayed_at > %(now)s::timestamptz - interval '1 hour' AND e.created_at <= %(now)s::timestamptz - interval '1 day'
), events AS (
    SELECT
        count(*) FILTER (WHERE k.origin = 'webhook' AND k.created_at > b.hour) AS deliveries,
        count(*) FILTER (WHERE k.origin <> 'webhook' AND k.created_at > b.hour) AS missed,
        count(*) FILTER (WHERE k.status = 'processed' AND k.processed_at > b.hour) AS processed,
        count(*) FILTER (WHERE k.replayed_at > b.hour) AS replayed,
        -- A handler that was killed counted nothing (claim_expired).
        count(*) FILTER (
            WHERE k.status IN ('failed', 'dead_letter') AND k.attempts > 0 AND k.created_at > b.hour
                AND k.error_code IS DISTINCT FROM 'claim_expired'
        ) AS failed,
        coalesce(sum(greatest(k.attempts - (k.status = 'processed')::integer, 0)), 0) AS attempts,
        coalesce(sum(jsonb_array_length(k.notifications)) FILTER (WHERE k.notified_at > b.hour), 0) AS notified
    FROM known AS k
    CROSS JOIN bounds AS b
), runs AS (
    SELECT
        count(*) FILTER (WHERE r.outcome = 'succeeded' AND r.finished_at > b.hour) AS succeeded,
        coalesce(
            sum(jsonb_array_length(r.report -> 'notifications')) FILTER (WHERE r.notified_at > b.hour), 0
        ) AS notified
    FROM bounds AS b
    INNER JOIN public.pancake_cron_run AS r ON r.name = ANY(%(names)s::text[]) AND r.scheduled_time > b.day
)
SELECT c.counter, c.least, c.most
FROM events AS e
CROSS JOIN runs AS r
CROSS JOIN LATERAL (
    VALUES
    ('deliveries', e.deliveries, e.deliveries),
    ('missed', e.missed, e.missed),
    -- A replay may have been processed before in the same hour; it begins with five attempts again.
    ('processed', e.processed, e.processed + e.replayed),
    ('failed', e.failed, e.attempts + 5 * e.replayed),
    ('notifications', e.notified + r.notified, e.notified + r.notified),
    ('cron_runs', r.succeeded, r.succeeded)
) AS c (counter, least, most)

-- List the attendance of each cron. One that never succeeded counts from the creation of the oldest connection.
-- Returns name, succeeded_at, started_at, delay_seconds (from the last tick to its start; both null without a run).
-- Relies on uq_pancake_cron_run_tick.
SELECT
    n.name,
    coalesce(s.finished_at, (SELECT min(c.created_at) FROM public.pancake_connection AS c)) AS succeeded_at,
    l.started_at,
    greatest(extract(epoch FROM l.started_at - l.scheduled_time)::float, 0) AS delay_seconds
FROM unnest(%(names)s::text[]) AS n (name)
LEFT JOIN LATERAL (
    SELECT r.finished_at
    FROM public.pancake_cron_run AS r
    WHERE r.name = n.name AND r.outcome = 'succeeded'
    ORDER BY r.scheduled_time DESC
    LIMIT 1
) AS s ON true
LEFT JOIN LATERAL (
    SELECT r.started_at, r.scheduled_time
    FROM public.pancake_cron_run AS r
    WHERE r.name = n.name
    ORDER BY r.scheduled_time DESC
    LIMIT 1
) AS l ON true

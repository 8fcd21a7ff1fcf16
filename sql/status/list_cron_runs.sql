-- List for each cron its last run, and the last one that succeeded; first_tick is the first tick of any of them.
-- Returns one row per name: name, last_tick, last_outcome, last_error, succeeded_tick, succeeded_at, first_tick; null
-- without a run.
-- Relies on uq_pancake_cron_run_tick.
SELECT
    n.name,
    r.scheduled_time AS last_tick,
    r.outcome AS last_outcome,
    r.error AS last_error,
    s.scheduled_time AS succeeded_tick,
    s.finished_at AS succeeded_at,
    min(f.scheduled_time) OVER () AS first_tick
FROM unnest(%(names)s::text[]) AS n (name)
LEFT JOIN LATERAL (
    SELECT l.scheduled_time, l.outcome, l.error
    FROM public.pancake_cron_run AS l
    WHERE l.name = n.name
    ORDER BY l.scheduled_time DESC
    LIMIT 1
) AS r ON true
LEFT JOIN LATERAL (
    SELECT l.scheduled_time, l.finished_at
    FROM public.pancake_cron_run AS l
    WHERE l.name = n.name AND l.outcome = 'succeeded'
    ORDER BY l.scheduled_time DESC
    LIMIT 1
) AS s ON true
LEFT JOIN LATERAL (
    SELECT l.scheduled_time
    FROM public.pancake_cron_run AS l
    WHERE l.name = n.name
    ORDER BY l.scheduled_time
    LIMIT 1
) AS f ON true
ORDER BY n.name

-- Load the retention periods, and how far the previous purge came: up to where it emptied bodies, and when it started.
-- Returns one row: payload_days, held_days, run_days, log_days; emptied_to, held_emptied_to, started_at, null before the first
-- purge. Relies on uq_pancake_cron_run_tick.
SELECT
    s.payload_retention_days AS payload_days,
    s.held_retention_days AS held_days,
    s.cron_run_retention_days AS run_days,
    s.engine_log_retention_days AS log_days,
    p.emptied_to,
    p.held_emptied_to,
    p.started_at
FROM public.pancake_setting() AS s
LEFT JOIN (
    SELECT
        (r.report ->> 'emptied_to')::timestamptz AS emptied_to,
        (r.report ->> 'held_emptied_to')::timestamptz AS held_emptied_to,
        r.started_at
    FROM public.pancake_cron_run AS r
    WHERE r.name = 'purge_events' AND r.outcome = 'succeeded'
    ORDER BY r.scheduled_time DESC
    LIMIT 1
) AS p ON true

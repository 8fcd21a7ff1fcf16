-- Load how long the slowest daily reconciliation of the window took, from its first call to its end.
-- Returns one row: longest_minutes, runs; the first null without a run. Relies on uq_pancake_cron_run_tick.
SELECT
    max(extract(epoch FROM r.finished_at - r.started_at))::float / 60 AS longest_minutes,
    count(*) AS runs
FROM public.pancake_cron_run AS r
WHERE
    r.name = 'reconcile_daily'
    AND r.outcome IN ('succeeded', 'failed')
    AND r.finished_at >= %(from)s
    AND r.finished_at < %(to)s

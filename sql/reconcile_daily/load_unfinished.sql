-- Load the nightly run that has stored progress and waits for its next delivery. Progress of an hour ago is not used any more.
-- Returns scheduled_time, at most one row. Relies on uq_pancake_cron_run_tick.
SELECT r.scheduled_time
FROM public.pancake_cron_run AS r
WHERE
    r.name = 'reconcile_daily'
    AND r.scheduled_time > %(now)s::timestamptz - interval '1 hour'
    AND r.outcome = 'running'
    AND r.report ? 'state'
ORDER BY r.scheduled_time DESC
LIMIT 1

-- Load what the previous run of check_connection found for each connection.
-- Returns at most one row: connections, a JSON array. Relies on uq_pancake_cron_run_tick.
SELECT r.report -> 'connections' AS connections
FROM public.pancake_cron_run AS r
WHERE r.name = 'check_connection' AND r.scheduled_time < %(scheduled_time)s AND r.report ? 'connections'
ORDER BY r.scheduled_time DESC
LIMIT 1

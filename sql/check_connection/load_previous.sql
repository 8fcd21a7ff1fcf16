-- Load what the previous run of check_connection found for each connection, and of the settings.
-- Returns at most one row: connections, a JSON array; settings_digest, null if all settings were readable.
-- Relies on uq_pancake_cron_run_tick.
SELECT r.report -> 'connections' AS connections, r.report -> 'settings' ->> 'digest' AS settings_digest
FROM public.pancake_cron_run AS r
WHERE r.name = 'check_connection' AND r.scheduled_time < %(scheduled_time)s AND r.report ? 'connections'
ORDER BY r.scheduled_time DESC
LIMIT 1

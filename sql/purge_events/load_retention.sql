-- Load the retention periods, and the time up to which payloads were emptied before.
-- Returns one row: payload_days, run_days, log_days, emptied_to. Relies on uq_pancake_cron_run_tick.
SELECT
    coalesce((s.settings ->> 'payload_retention_days')::integer, 90) AS payload_days,
    coalesce((s.settings ->> 'cron_run_retention_days')::integer, 180) AS run_days,
    coalesce((s.settings ->> 'engine_log_retention_days')::integer, 7) AS log_days,
    (
        SELECT (r.report ->> 'emptied_to')::timestamptz
        FROM public.pancake_cron_run AS r
        WHERE r.name = 'purge_events' AND r.outcome = 'succeeded'
        ORDER BY r.scheduled_time DESC
        LIMIT 1
    ) AS emptied_to
FROM (SELECT (SELECT app_settings -> 'pancake_integration' FROM public.app_setting WHERE id = 1) AS settings) AS s

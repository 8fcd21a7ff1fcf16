-- Load up to when the administrators were told of ticks that Hasura gave up, and when that was; of the last day.
-- Returns one row: told_at, told_until; null if they were not told. Relies on uq_pancake_cron_run_tick.
SELECT max(r.scheduled_time) AS told_at, max((r.report -> 'lost_ticks' ->> 'until')::timestamptz) AS told_until
FROM public.pancake_cron_run AS r
WHERE
    r.name = 'retry_failed'
    AND r.scheduled_time > %(now)s::timestamptz - interval '1 day'
    AND r.report -> 'lost_ticks' ->> 'until' IS NOT NULL

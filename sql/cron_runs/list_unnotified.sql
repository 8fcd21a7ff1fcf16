-- List runs of the last day that ended more than a lease ago with unsent notifications: their sender failed or died.
-- Returns id and notifications. Relies on uq_pancake_cron_run_tick (seven crons make about 3,000 rows a day).
SELECT r.id, r.report -> 'notifications' AS notifications
FROM public.pancake_cron_run AS r
WHERE
    r.name = ANY (%(names)s)
    AND r.scheduled_time > %(now)s::timestamptz - interval '1 day'
    AND r.finished_at < %(now)s::timestamptz - %(lease)s::interval
    AND jsonb_array_length(r.report -> 'notifications') > 0
    AND NOT r.report ? 'notified_at'
ORDER BY r.scheduled_time
LIMIT 50

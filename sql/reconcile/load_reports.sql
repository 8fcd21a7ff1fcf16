-- The stored reports of one ICT day: of each connection the newest in which the day was reckoned.
-- Returns report (JSON), a row for each connection. Reads all runs of the cron that are kept.
SELECT DISTINCT ON (d ->> 'connection_id') d AS report
FROM public.pancake_cron_run AS r
CROSS JOIN jsonb_array_elements(r.report -> 'days') AS d
WHERE r.name = 'reconcile_daily' AND d ->> 'day' = %(day)s AND d ? 'expected'
ORDER BY d ->> 'connection_id', r.scheduled_time DESC, r.id DESC

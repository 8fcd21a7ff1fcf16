-- Load the stored reports of one day in Vietnam's time zone: for each connection the newest run that reconciled the day.
-- Returns report (JSON), one row per connection. Reads all stored runs of the cron.
SELECT DISTINCT ON (d ->> 'connection_id') d AS report
FROM public.pancake_cron_run AS r
CROSS JOIN jsonb_array_elements(r.report -> 'days') AS d
WHERE r.name = 'reconcile_daily' AND d ->> 'day' = %(day)s AND d ? 'expected'
ORDER BY d ->> 'connection_id', r.scheduled_time DESC, r.id DESC

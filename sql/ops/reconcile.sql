-- name: reconcile/load_reports
-- Load the stored reports of one day in Vietnam's time zone: for each connection the newest run that reconciled the day.
-- Returns report (JSON), one row per connection. Reads all stored runs of the cron.
SELECT DISTINCT ON (d ->> 'connection_id') d AS report
FROM public.pancake_cron_run AS r
CROSS JOIN jsonb_array_elements(r.report -> 'days') AS d
WHERE r.name = 'reconcile_daily' AND d ->> 'day' = %(day)s AND d ? 'expected'
ORDER BY d ->> 'connection_id', r.scheduled_time DESC, r.id DESC

-- name: reconcile/load_unfinished
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

-- name: kpi/load_zero_miss
-- KPI zero-miss: records that the reconciliations finished in the window found missing, and those still missing after them
-- (must be 0).
-- Returns one row: days (one per connection and day), found_missing, left_missing; both null without a day.
-- Relies on uq_pancake_cron_run_tick.
SELECT
    count(*) AS days,
    sum(jsonb_array_length(coalesce(d.report -> 'found_missing', '[]')))::integer AS found_missing,
    sum(jsonb_array_length(coalesce(d.report -> 'left_missing', '[]')))::integer AS left_missing
FROM public.pancake_cron_run AS r
CROSS JOIN LATERAL jsonb_array_elements(r.report -> 'days') AS d (report)
WHERE
    r.name = 'reconcile_daily'
    AND r.outcome IN ('succeeded', 'failed')
    AND r.finished_at >= %(from)s
    AND r.finished_at < %(to)s
    AND d.report ? 'left_missing'

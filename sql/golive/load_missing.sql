-- Load what the reconciliations of the window found missing on the worst day, and what is still missing after them.
-- Returns one row: left_missing, found_missing_worst, days; the first two null without a reconciled day. Relies on
-- uq_pancake_cron_run_tick.
SELECT
    sum(m.left_missing)::integer AS left_missing,
    max(m.found_missing) AS found_missing_worst,
    count(*) AS days
FROM (
    SELECT
        d.report ->> 'day' AS day,
        sum(jsonb_array_length(COALESCE(d.report -> 'left_missing', '[]')))::integer AS left_missing,
        sum(jsonb_array_length(COALESCE(d.report -> 'found_missing', '[]')))::integer AS found_missing
    FROM public.pancake_cron_run AS r
    CROSS JOIN LATERAL jsonb_array_elements(r.report -> 'days') AS d (report)
    WHERE
        r.name = 'reconcile_daily'
        AND r.outcome IN ('succeeded', 'failed')
        AND r.finished_at >= %(from)s
        AND r.finished_at < %(to)s
        AND d.report ? 'left_missing'
    GROUP BY d.report ->> 'day'
) AS m

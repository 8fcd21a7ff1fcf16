-- Count how often a connection became suspended in the window; those that were suspended before and still are count too.
-- Returns one row: value, null if no connection was checked in the window; checks (runs of check_connection). Reads those runs.
SELECT
    CASE WHEN c.checks > 0 THEN greatest(
        (
            SELECT count(*) FROM public.view_pancake_connection_status AS v
            WHERE v.status_after = 'suspended' AND v.scheduled_time >= %(from)s AND v.scheduled_time < %(to)s
        ),
        (
            SELECT count(*) FROM public.pancake_connection AS p
            WHERE p.status = 'suspended' AND p.status_changed_at < %(to)s
        )
    ) END AS value,
    c.checks
FROM (
    SELECT count(*) AS checks
    FROM public.pancake_cron_run AS r
    WHERE
        r.name = 'check_connection'
        AND r.outcome = 'succeeded'
        AND r.finished_at >= %(from)s
        AND r.finished_at < %(to)s
) AS c

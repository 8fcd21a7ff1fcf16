-- Store a run's outcome and report. Outcome 'running' saves the progress of an unfinished run.
-- Notices that an earlier delivery of the tick stored and that are not sent yet are kept: their cause may be gone.
-- Returns nothing. Relies on pk_pancake_cron_run.
UPDATE public.pancake_cron_run AS r
SET
    outcome = %(outcome)s,
    finished_at = CASE WHEN %(outcome)s <> 'running' THEN %(now)s::timestamptz END,
    report = n.report || jsonb_build_object(
        'notifications',
        CASE WHEN r.notified_at IS NULL AND r.notify_given_up_at IS NULL THEN jsonb_path_query_array(
            r.report, '$.notifications[*] ? (!(@.idempotency_key == $stored[*]))',
            jsonb_build_object('stored', jsonb_path_query_array(n.report, '$.notifications[*].idempotency_key'))
        ) ELSE '[]' END || COALESCE(n.report -> 'notifications', '[]')
    ),
    error = %(error)s,
    window_from = %(window_from)s,
    window_to = %(window_to)s
FROM (SELECT %(report)s::jsonb AS report) AS n
WHERE r.id = %(id)s

-- Store a run's outcome and report. Outcome 'running' saves the progress of an unfinished run.
-- Returns nothing. Relies on pk_pancake_cron_run.
UPDATE public.pancake_cron_run
SET
    outcome = %(outcome)s,
    finished_at = CASE WHEN %(outcome)s <> 'running' THEN %(now)s::timestamptz END,
    report = %(report)s::jsonb,
    error = %(error)s,
    window_from = %(window_from)s,
    window_to = %(window_to)s
WHERE id = %(id)s

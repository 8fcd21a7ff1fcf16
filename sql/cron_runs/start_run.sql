-- Insert a run, or take over an unfinished or failed one of the same scheduled time. The caller holds the cron's lock, so
-- every other run of that name that is still 'running' was interrupted and becomes 'failed'. A run that was due before the
-- last successful one started is 'skipped': that one has done its work.
-- Returns id, outcome ('running' or 'skipped'), report, started_at; no row if the run is finished.
-- Relies on uq_pancake_cron_run_tick.
WITH fulfilled AS (
    SELECT count(*) > 0 AS already
    FROM public.pancake_cron_run AS r
    WHERE
        r.name = %(name)s
        AND r.scheduled_time > %(scheduled_time)s::timestamptz - interval '1 day'
        AND r.scheduled_time <> %(scheduled_time)s
        AND r.started_at >= %(scheduled_time)s
        AND r.outcome = 'succeeded'
), interrupted AS (
    UPDATE public.pancake_cron_run AS r
    SET outcome = 'failed', error = 'interrupted', finished_at = %(now)s
    WHERE
        r.name = %(name)s
        AND r.scheduled_time BETWEEN %(scheduled_time)s::timestamptz - interval '1 day' AND %(now)s
        AND r.scheduled_time <> %(scheduled_time)s
        AND r.outcome = 'running'
)
INSERT INTO public.pancake_cron_run AS r (name, scheduled_time, started_at, outcome, finished_at)
SELECT
    %(name)s, %(scheduled_time)s, %(now)s,
    CASE WHEN f.already THEN 'skipped' ELSE 'running' END,
    CASE WHEN f.already THEN %(now)s::timestamptz END
FROM fulfilled AS f
ON CONFLICT ON CONSTRAINT uq_pancake_cron_run_tick DO UPDATE
SET outcome = excluded.outcome, finished_at = excluded.finished_at, error = NULL
WHERE r.outcome IN ('running', 'failed')
RETURNING r.id, r.outcome, r.report, r.started_at

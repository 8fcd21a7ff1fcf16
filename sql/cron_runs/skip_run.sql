-- Record a skipped run, because another run of the same cron is in progress.
-- Returns one row: outcome, as it is stored for this scheduled time now. Relies on uq_pancake_cron_run_tick.
WITH inserted AS (
    INSERT INTO public.pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome)
    VALUES (%(name)s, %(scheduled_time)s, %(now)s, %(now)s, 'skipped')
    ON CONFLICT ON CONSTRAINT uq_pancake_cron_run_tick DO NOTHING
    RETURNING outcome
)
SELECT i.outcome FROM inserted AS i
UNION ALL
SELECT r.outcome FROM public.pancake_cron_run AS r
WHERE r.name = %(name)s AND r.scheduled_time = %(scheduled_time)s
LIMIT 1

-- Note a tick that found another one of its cron at work.
-- Returns one row: outcome, what the register says of the tick now. Relies on uq_pancake_cron_run_tick.
WITH noted AS (
    INSERT INTO public.pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome)
    VALUES (%(name)s, %(scheduled_time)s, %(now)s, %(now)s, 'skipped')
    ON CONFLICT ON CONSTRAINT uq_pancake_cron_run_tick DO NOTHING
    RETURNING outcome
)
SELECT n.outcome FROM noted AS n
UNION ALL
SELECT r.outcome FROM public.pancake_cron_run AS r
WHERE r.name = %(name)s AND r.scheduled_time = %(scheduled_time)s
LIMIT 1

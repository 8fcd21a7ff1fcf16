-- Empty one batch of old runs that are kept as the status history of the connections: everything but the changes.
-- Returns one row: changed. Relies on uq_pancake_cron_run_tick.
WITH emptied AS (
    UPDATE public.pancake_cron_run AS r
    SET report = jsonb_build_object('connections', r.report -> 'connections'), error = NULL
    WHERE r.id IN (
        SELECT o.id
        FROM public.pancake_cron_run AS o
        WHERE
            o.name IN ('check_connection', 'connection_status')
            AND o.scheduled_time < %(before)s
            AND o.outcome <> 'running'
            AND (o.report - 'connections' <> '{}' OR o.error IS NOT NULL)
            AND o.report ? 'connections'
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    )
    RETURNING r.id
)
SELECT count(*) AS changed FROM emptied

-- Delete one batch of old runs. Runs that changed a connection's status are kept: they are its status history.
-- Returns one row: changed. Relies on uq_pancake_cron_run_tick.
WITH deleted AS (
    DELETE FROM public.pancake_cron_run AS r
    WHERE r.id IN (
        SELECT o.id
        FROM public.pancake_cron_run AS o
        WHERE
            o.name = ANY (%(names)s)
            AND o.scheduled_time < %(before)s
            AND o.outcome <> 'running'
            AND NOT EXISTS (
                SELECT FROM jsonb_array_elements(CASE WHEN o.name = 'check_connection' THEN o.report -> 'connections' END) AS c
                WHERE c ->> 'before' IS DISTINCT FROM c ->> 'after'
            )
        LIMIT %(limit)s
    )
    RETURNING r.id
)
SELECT count(*) AS changed FROM deleted

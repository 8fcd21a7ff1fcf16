-- Remove the index of old leads to tell of, and let the planner join the report as before.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DROP INDEX IF EXISTS public.ix_pancake_webhook_event_told_later;

-- As in 1777870069960, which may have been taken back already.
DO $$
BEGIN
    IF to_regprocedure('public.pancake_report_row(timestamptz, timestamptz)') IS NULL THEN
        RETURN;
    END IF;
    EXECUTE replace(
        replace(
            pg_get_functiondef('public.pancake_report_row(timestamptz, timestamptz)'::regprocedure),
            'FULL JOIN public.pancake_created_ticket(since, until) AS t ON t.event_id = a.id OFFSET 0',
            'LEFT JOIN public.pancake_created_ticket(since, until) AS t ON t.event_id = a.id'
        ),
        'FROM classified AS c WHERE c.id IS NOT NULL', 'FROM classified AS c'
    );
END
$$;

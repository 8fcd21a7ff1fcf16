-- Let a dry run show its plan while the kill switch is on, for example that of the test lead of an installation. Locks no table, and
-- may run again.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- Whether this transaction is a dry run, which is rolled back: replay_events/lock_dry_run says so.
CREATE OR REPLACE FUNCTION public.pancake_is_dry_run() RETURNS boolean
    LANGUAGE sql STABLE
    AS $$
    SELECT coalesce(current_setting('pancake.dry_run', true), '') = 'on'
$$;

CREATE OR REPLACE FUNCTION public.pancake_hold_reason(for_connection_id uuid, among_source_ids text[])
    RETURNS TABLE (status text)
    LANGUAGE sql STABLE
    AS $$
    SELECT CASE
        WHEN (SELECT w.kill_switch FROM public.view_pancake_setting AS w) AND NOT public.pancake_is_dry_run()
            THEN 'skipped_kill_switch'
        WHEN cardinality(among_source_ids) > 0
            AND NOT EXISTS (SELECT FROM public.pancake_active_source(for_connection_id, among_source_ids))
            THEN 'skipped_source_disabled'
    END
$$;

COMMENT ON FUNCTION public.pancake_is_dry_run() IS 'Whether this transaction is a dry run, which the kill switch does not hold';

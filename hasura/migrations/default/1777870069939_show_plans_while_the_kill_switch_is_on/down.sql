SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- As in 1777870069931, which may have been taken back already.
DO $$
BEGIN
    IF to_regclass('public.view_pancake_setting') IS NULL THEN
        RETURN;
    END IF;
    CREATE OR REPLACE FUNCTION public.pancake_hold_reason(for_connection_id uuid, among_source_ids text[])
        RETURNS TABLE (status text)
        LANGUAGE sql STABLE
        AS $hold$
    SELECT CASE
        WHEN (SELECT w.kill_switch FROM public.view_pancake_setting AS w) THEN 'skipped_kill_switch'
        WHEN cardinality(among_source_ids) > 0
            AND NOT EXISTS (SELECT FROM public.pancake_active_source(for_connection_id, among_source_ids))
            THEN 'skipped_source_disabled'
    END
$hold$;
END
$$;

DROP FUNCTION IF EXISTS public.pancake_is_dry_run();

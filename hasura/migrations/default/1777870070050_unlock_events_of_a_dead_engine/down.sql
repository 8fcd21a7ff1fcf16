-- Remove what up.sql added. The handlers of this version need it.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DROP FUNCTION IF EXISTS public.pancake_unlock_events(interval, bigint);

-- As in 1777870069931, which may have been taken back already.
DO $$
BEGIN
    IF to_regprocedure('public.pancake_delivery_history(text, integer)') IS NULL THEN
        RETURN;
    END IF;
    CREATE OR REPLACE FUNCTION public.pancake_delivery_history(hasura_event_id text, tries integer)
        RETURNS TABLE (is_redelivered boolean, is_answered boolean)
        LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
        AS $history$
BEGIN
    -- Without its catalogue, which "clear metadata" drops, Hasura has no log.
    IF to_regclass('hdb_catalog.event_invocation_logs') IS NULL THEN
        RETURN QUERY SELECT false, tries > 0;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT count(*) > tries, count(*) FILTER (WHERE l.newest <= tries AND l.status IS DISTINCT FROM 503) > 0
    FROM (
        SELECT i.status, row_number() OVER (ORDER BY i.created_at DESC) AS newest
        FROM hdb_catalog.event_invocation_logs AS i
        WHERE i.event_id = hasura_event_id
    ) AS l;
END
$history$;
END
$$;

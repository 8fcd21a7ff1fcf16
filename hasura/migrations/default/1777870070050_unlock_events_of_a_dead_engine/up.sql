-- Let retry_failed unlock the events that an engine locked before it died: Hasura then delivers them first. A new event for the row
-- would come at the end of its queue. Locks no table, and may run again.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- Unlock at most `most` of Hasura's pending events of our trigger that have been locked for longer than `lease`, those first that were
-- locked first; return how many. Only for a row that is still received: Hasura would deliver any other for nothing.
CREATE OR REPLACE FUNCTION public.pancake_unlock_events(lease interval, most bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    -- A condition with the clock itself could not use Hasura's index on pending events.
    locked_before CONSTANT timestamptz := clock_timestamp() - lease;
    changed bigint;
BEGIN
    UPDATE hdb_catalog.event_log AS l
    SET locked = NULL
    WHERE l.id = ANY (ARRAY(
        SELECT o.id
        FROM hdb_catalog.event_log AS o
        WHERE
            o.delivered = 'f' AND o.error = 'f' AND o.archived = 'f'
            AND o.locked < locked_before
            -- || '' keeps the planner from reading all events of our trigger, also the finished ones.
            AND (o.trigger_name || '') = 'pancake_webhook_event_status_update'
            -- A subquery with one value is a look-up by the primary key. An EXISTS may become a hash table of all rows.
            AND (
                SELECT e.status FROM public.pancake_webhook_event AS e WHERE e.id = (o.payload -> 'data' -> 'new' ->> 'id')::bigint
            ) = 'received'
        ORDER BY o.locked NULLS FIRST
        LIMIT most
        FOR UPDATE SKIP LOCKED
    ));
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END
$$;
REVOKE EXECUTE ON FUNCTION public.pancake_unlock_events(interval, bigint) FROM PUBLIC;
COMMENT ON FUNCTION public.pancake_unlock_events(interval, bigint) IS 'Unlocks Hasura''s events of received rows that a dead engine locked; returns how many';

-- As in 1777870069931, but with the tries that Hasura counts now. An event that is unlocked while the handlers are slow is on its way
-- twice: each delivery would take the log line of the other for a redelivery by a person.
CREATE OR REPLACE FUNCTION public.pancake_delivery_history(hasura_event_id text, tries integer)
    RETURNS TABLE (is_redelivered boolean, is_answered boolean)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    -- Without its catalogue, which "clear metadata" drops, Hasura has no log.
    IF to_regclass('hdb_catalog.event_invocation_logs') IS NULL THEN
        RETURN QUERY SELECT false, tries > 0;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT
        count(*) > coalesce((SELECT e.tries FROM hdb_catalog.event_log AS e WHERE e.id = hasura_event_id), tries),
        count(*) FILTER (WHERE l.newest <= tries AND l.status IS DISTINCT FROM 503) > 0
    FROM (
        SELECT i.status, row_number() OVER (ORDER BY i.created_at DESC) AS newest
        FROM hdb_catalog.event_invocation_logs AS i
        WHERE i.event_id = hasura_event_id
    ) AS l;
END
$$;

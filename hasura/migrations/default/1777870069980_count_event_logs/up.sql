-- Let purge_events count Hasura's log each night: it is kept for days only, and the gates of the go-live compare the stored events
-- with it. May run again.
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

-- The new events of our trigger on each of the three closed days before a time, with the first and the last of their ids; null without
-- Hasura's log. Held ones are not in it: they fire when they are replayed.
CREATE OR REPLACE FUNCTION public.pancake_count_event_logs(until timestamptz) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    today CONSTANT date := (until AT TIME ZONE 'Asia/Ho_Chi_Minh')::date;
BEGIN
    IF to_regclass('hdb_catalog.event_log') IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT jsonb_agg(jsonb_build_object(
            'day', d.day, 'events', coalesce(l.events, 0), 'first_id', l.first_id, 'last_id', l.last_id
        ) ORDER BY d.day)
        FROM (SELECT today - n AS day FROM generate_series(1, 3) AS n) AS d
        LEFT JOIN (
            SELECT o.day, count(DISTINCT o.event_id) AS events, min(o.event_id) AS first_id, max(o.event_id) AS last_id
            FROM (
                SELECT
                    (i.created_at AT TIME ZONE 'UTC' AT TIME ZONE 'Asia/Ho_Chi_Minh')::date AS day,
                    (i.payload #>> '{data,new,id}')::bigint AS event_id
                FROM hdb_catalog.event_log AS i
                WHERE
                    i.trigger_name = 'pancake_webhook_event_status_update'
                    AND i.created_at >= ((today - 3)::timestamp AT TIME ZONE 'Asia/Ho_Chi_Minh' AT TIME ZONE 'UTC')
                    AND i.payload ->> 'op' = 'INSERT'
            ) AS o
            GROUP BY o.day
        ) AS l ON l.day = d.day
    );
END
$$;
REVOKE EXECUTE ON FUNCTION public.pancake_count_event_logs(timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION public.pancake_count_event_logs(timestamptz) IS 'The new events in Hasura''s log on each of the three days before';

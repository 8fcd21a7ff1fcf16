-- Compare our events of a day with the ids that Pancake listed (`seen`), and count the versions that later ones replaced. Only
-- the listed tables count, because the webhook may bring others.
-- Returns one row: superseded, unlisted (JSON array of record_id and table_name: records that were not listed and have no
-- later version). Relies on ix_pancake_webhook_event_created_at, uq_pancake_webhook_event_identity.
WITH ours AS (
    SELECT e.record_id, min(e.table_name) AS table_name, count(DISTINCT date_trunc('milliseconds', e.modified_on)) AS versions
    FROM public.pancake_webhook_event AS e
    WHERE
        e.connection_id = %(connection_id)s
        AND e.created_at >= %(window_from)s::timestamptz - interval '1 hour'
        AND (e.table_name IS NULL OR e.table_name = ANY (%(tables)s))
        AND e.modified_on BETWEEN %(window_from)s AND %(window_to)s
        AND e.record_id IS NOT NULL
    GROUP BY e.record_id
), judged AS (
    SELECT
        o.record_id, o.table_name, o.versions,
        -- IN is always hashed; as a join, the planner might compare every row with every id.
        o.record_id IN (SELECT s.id FROM unnest(%(seen)s::text[]) AS s (id)) AS is_listed,
        EXISTS (
            SELECT FROM public.pancake_webhook_event AS n
            WHERE n.record_id = o.record_id AND n.modified_on > %(window_to)s AND n.connection_id = %(connection_id)s
        ) AS is_overtaken
    FROM ours AS o
)
SELECT
    coalesce(sum(j.versions - CASE WHEN j.is_overtaken THEN 0 ELSE 1 END), 0)::bigint AS superseded,
    coalesce(
        jsonb_agg(jsonb_build_object('record_id', j.record_id, 'table_name', j.table_name) ORDER BY j.record_id)
            FILTER (WHERE NOT j.is_listed AND NOT j.is_overtaken),
        '[]'
    ) AS unlisted
FROM judged AS j

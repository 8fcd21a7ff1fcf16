-- The records of which we hold a version of the day, with the number of those versions and the newest one we hold at all.
-- Returns record_id, table_name, versions, newest. Relies on ix_pancake_webhook_event_created_at, uq_pancake_webhook_event_identity.
SELECT
    d.record_id, d.table_name, d.versions,
    (
        SELECT max(n.modified_on) FROM public.pancake_webhook_event AS n
        WHERE n.record_id = d.record_id AND n.connection_id = %(connection_id)s
    ) AS newest
FROM (
    SELECT e.record_id, min(e.table_name) AS table_name, count(DISTINCT date_trunc('milliseconds', e.modified_on)) AS versions
    FROM public.pancake_webhook_event AS e
    WHERE
        e.connection_id = %(connection_id)s
        AND e.created_at >= %(window_from)s::timestamptz - interval '1 hour'
        AND e.modified_on BETWEEN %(window_from)s AND %(window_to)s
        AND e.record_id IS NOT NULL
    GROUP BY e.record_id
) AS d
ORDER BY d.record_id

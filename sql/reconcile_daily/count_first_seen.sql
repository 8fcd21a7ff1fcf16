-- Count the records of a day by the origin that first brought them: the webhook's losses as a number. Only listed tables count.
-- An event without a table counts with the record's other events of the day, if one of them names a table.
-- Returns origin and records.
-- Relies on ix_pancake_webhook_event_created_at, uq_pancake_webhook_event_identity: the lateral subquery looks up each record's
-- first row by index, whatever the planner estimates of the table's size.
SELECT f.origin, count(*) AS records
FROM (
    SELECT DISTINCT
        e.record_id,
        -- Of several tables the last one by name, lead: processing takes an event without a table for a lead.
        COALESCE(e.table_name, max(e.table_name) OVER (PARTITION BY e.record_id)) AS table_name
    FROM public.pancake_webhook_event AS e
    WHERE
        e.connection_id = %(connection_id)s
        AND e.created_at >= %(window_from)s::timestamptz - interval '1 hour'
        AND (e.table_name IS NULL OR e.table_name = ANY (%(tables)s))
        AND e.modified_on BETWEEN %(window_from)s AND %(window_to)s
        AND e.record_id IS NOT NULL
) AS d
CROSS JOIN LATERAL (
    SELECT
        (array_agg(v.origin ORDER BY v.id))[1] AS origin,
        (array_agg(v.modified_on ORDER BY v.id))[1] AS modified_on,
        (array_agg(v.created_at ORDER BY v.id))[1] AS created_at
    FROM public.pancake_webhook_event AS v
    WHERE
        v.record_id = d.record_id
        AND v.connection_id = %(connection_id)s
        AND (v.table_name = d.table_name OR v.table_name IS NULL OR d.table_name IS NULL)
) AS f
WHERE
    f.modified_on BETWEEN %(window_from)s AND %(window_to)s
    AND f.created_at >= %(window_from)s::timestamptz - interval '1 hour'
GROUP BY f.origin
ORDER BY f.origin

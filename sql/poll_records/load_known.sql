-- Load the newest modified_on that the webhook brought for each record, to compare Pancake's list with. An event without a
-- table name may belong to any of the listed tables.
-- Returns record_id and modified_on of records inside the window. Relies on ix_pancake_webhook_event_created_at: an event is
-- stored after modified_on, apart from the hour that clocks may differ.
SELECT e.record_id, max(e.modified_on) AS modified_on
FROM public.pancake_webhook_event AS e
WHERE
    e.connection_id = %(connection_id)s
    AND e.origin = 'webhook'
    AND (e.table_name IS NULL OR e.table_name = ANY (%(tables)s))
    AND e.created_at >= %(window_from)s::timestamptz - interval '1 hour'
    AND e.record_id IS NOT NULL
GROUP BY e.record_id
HAVING max(e.modified_on) BETWEEN %(window_from)s AND %(window_to)s

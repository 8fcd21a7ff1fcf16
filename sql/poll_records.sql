-- name: poll_records/load_known
-- Load the newest modified_on that the webhook brought for each record, to compare Pancake's list with. An event without a
-- table name may belong to any of the listed tables: it counts with the record's other events, if one of them names a table. A
-- version too far in the future is left out: the list shows it in no window.
-- Returns table_name, record_id and modified_on of records inside the window. Relies on ix_pancake_webhook_event_created_at: an
-- event is stored after modified_on, apart from the hour that clocks may differ.
SELECT k.table_name, k.record_id, max(k.modified_on) AS modified_on
FROM (
    SELECT
        -- Of several tables the last one by name, lead: processing takes an event without a table for a lead.
        COALESCE(e.table_name, max(e.table_name) OVER (PARTITION BY e.record_id)) AS table_name,
        e.record_id, e.modified_on
    FROM public.pancake_webhook_event AS e
    WHERE
        e.connection_id = %(connection_id)s
        AND e.origin = 'webhook'
        AND (e.table_name IS NULL OR e.table_name = ANY (%(tables)s))
        AND e.created_at >= %(window_from)s::timestamptz - interval '1 hour'
        AND e.record_id IS NOT NULL
        AND e.modified_on <= e.arrived_at + %(max_future)s::interval
) AS k
GROUP BY k.table_name, k.record_id
HAVING max(k.modified_on) BETWEEN %(window_from)s AND %(window_to)s
ORDER BY k.record_id, k.table_name

-- name: poll_records/set_watermark
-- Record a poll. The watermark never moves back.
-- Returns nothing. Relies on pk_pancake_connection.
UPDATE public.pancake_connection
SET last_poll_at = %(now)s, poll_watermark = greatest(poll_watermark, %(watermark)s)
WHERE id = %(connection_id)s

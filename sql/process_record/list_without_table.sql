-- List the events whose body named no table of a connection with several: a dry run looks their records up before it begins.
-- Returns id, connection_id and record_id. Relies on pk_pancake_webhook_event.
SELECT e.id, e.connection_id::text AS connection_id, e.record_id
FROM public.pancake_webhook_event AS e
WHERE e.id = ANY (%(ids)s) AND e.table_name IS NULL AND e.record_id IS NOT NULL
ORDER BY e.id

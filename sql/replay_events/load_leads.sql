-- Load the fields that identify the leads of events, to take all their locks before any work.
-- Returns one row per event. Relies on pk_pancake_webhook_event.
SELECT
    e.id, e.connection_id, e.record_id, e.table_name, e.modified_on, e.payload::text AS payload,
    e.evidence ->> 'corrected_phone' AS corrected_phone
FROM public.pancake_webhook_event AS e
WHERE e.id = ANY (%(ids)s)
ORDER BY e.id

-- Find the event of a version, as ingest does; it is explained, not run.
-- Returns id. Relies on uq_pancake_webhook_event_identity.
SELECT e.id
FROM public.pancake_webhook_event AS e
WHERE e.record_id = %(record_id)s AND e.modified_on = %(modified_on)s AND e.payload_hash = %(payload_hash)s

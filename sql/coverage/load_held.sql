-- What we hold of some records; the body only where times cannot decide (whole names records listed without one).
-- Returns record_id, modified_on, status, error_code, payload. Relies on uq_pancake_webhook_event_identity.
SELECT
    e.record_id, e.modified_on, e.status, e.error_code,
    CASE WHEN e.modified_on IS NULL OR e.record_id = ANY (%(whole)s) THEN e.payload::text END AS payload
FROM public.pancake_webhook_event AS e
WHERE e.record_id = ANY (%(record_ids)s) AND e.connection_id = %(connection_id)s
ORDER BY e.record_id, e.modified_on

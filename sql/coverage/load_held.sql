-- What we hold of some records; the body only where times cannot decide (whole names records listed without one).
-- Returns record_id, modified_on, status, error_code, payload. Relies on uq_pancake_webhook_event_identity: looked up
-- record by record (OFFSET 0 keeps it so), since a generic plan for = ANY compares every row with every record.
SELECT e.record_id, e.modified_on, e.status, e.error_code, e.payload
FROM unnest(%(record_ids)s::text[]) AS r (record_id)
CROSS JOIN LATERAL (
    SELECT
        v.record_id, v.modified_on, v.status, v.error_code,
        CASE WHEN v.modified_on IS NULL OR v.record_id = ANY (%(whole)s) THEN v.payload::text END AS payload
    FROM public.pancake_webhook_event AS v
    WHERE v.record_id = r.record_id AND v.connection_id = %(connection_id)s
    OFFSET 0
) AS e
ORDER BY e.record_id, e.modified_on

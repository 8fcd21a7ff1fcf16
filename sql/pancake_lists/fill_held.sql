-- Restore the body of held events that purge_events emptied, when the same body arrives again, and set them to received.
-- Returns ordinal, status, event_id and error_code of those deliveries. Relies on uq_pancake_webhook_event_identity:
-- OFFSET 0 keeps the planner on one index look-up per record, whatever it estimates of the number of held rows.
UPDATE public.pancake_webhook_event AS e
SET
    payload = h.payload::jsonb, normalized_phone = h.phone, status = 'received', origin = %(origin)s, created_at = %(now)s,
    replayed_by = %(origin)s, replayed_at = %(now)s
FROM (
    SELECT d.ordinal, d.payload, d.phone, v.id
    FROM json_to_recordset(%(deliveries)s::json) AS d (
        ordinal integer, connection_id uuid, table_id text, record_id text, payload_hash text, payload text, phone text
    )
    CROSS JOIN LATERAL (
        SELECT w.id
        FROM public.pancake_webhook_event AS w
        WHERE
            w.record_id = d.record_id
            AND w.payload_hash = public.pancake_payload_hash(decode(d.payload_hash, 'hex'), d.connection_id, d.table_id)
            AND w.connection_id = d.connection_id
            -- || '' keeps the planner on the identity index. With the plain column it takes ix_pancake_webhook_event_held while the
            -- statistics say that no event is held, and reads all held events for each delivery.
            AND (w.status || '') IN ('skipped_kill_switch', 'skipped_source_disabled')
            AND w.payload IS NULL
            AND w.raw IS NULL
        OFFSET 0
    ) AS v
    WHERE d.payload IS NOT NULL
) AS h
WHERE e.id = h.id
RETURNING h.ordinal, e.status, e.id AS event_id, NULL AS error_code

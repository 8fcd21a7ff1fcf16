-- name: pancake_lists/load_recent
-- Load events of record ids that were stored at `since` or soon after: of the connection's first 2,000 from then on. It reads one
-- range of an index, whose cost does not grow with the table; that of a look-up of each record does. An event that it leaves out,
-- such as one of a clock that differs by more than five minutes, is found under the record's lock (store_missing).
-- Returns the columns of load_events; payload is null. Relies on ix_pancake_webhook_event_created_at.
SELECT e.table_name, e.record_id, e.modified_on, e.arrived_at, e.status, e.error_code, NULL AS payload
FROM unnest(%(record_ids)s::text[]) AS r (record_id)
INNER JOIN (
    SELECT v.table_name, v.record_id, v.modified_on, v.arrived_at, v.status, v.error_code
    FROM public.pancake_webhook_event AS v
    WHERE
        v.created_at >= %(since)s::timestamptz - interval '5 minutes'
        AND v.connection_id = %(connection_id)s
        AND v.modified_on IS NOT NULL
        AND v.payload IS NOT NULL
    ORDER BY v.created_at
    LIMIT 2000
) AS e ON e.record_id = r.record_id

-- name: pancake_lists/load_events
-- Load the stored events of record ids, of whichever table. The body is returned only where times cannot decide: for events
-- without modified_on, and for the records in `whole`, which Pancake listed without a time.
-- Returns table_name, record_id, modified_on, arrived_at, status, error_code, payload. Relies on
-- uq_pancake_webhook_event_identity: OFFSET 0 keeps the planner on one index look-up per record; a generic plan for = ANY would
-- compare every row with every record.
SELECT e.table_name, e.record_id, e.modified_on, e.arrived_at, e.status, e.error_code, e.payload
FROM unnest(%(record_ids)s::text[]) AS r (record_id)
CROSS JOIN LATERAL (
    SELECT
        v.table_name, v.record_id, v.modified_on, v.arrived_at, v.status, v.error_code,
        CASE WHEN v.modified_on IS NULL OR v.record_id = ANY (%(whole)s) THEN v.payload::text END AS payload
    FROM public.pancake_webhook_event AS v
    WHERE
        v.record_id = r.record_id
        AND v.connection_id = %(connection_id)s
        -- Leave out held rows with an emptied body that would not be held now, so that the lead is stored again.
        AND NOT (
            public.pancake_event_is_held(v.status)
            AND v.payload IS NULL
            AND v.raw IS NULL
            AND (SELECT h.status FROM public.pancake_hold_reason(v.connection_id, v.source_ids) AS h) IS NULL
        )
    OFFSET 0
) AS e
ORDER BY e.record_id, e.modified_on

-- name: pancake_lists/restore_emptied_held
-- Restore the body of held events that purge_events emptied, when the same body arrives again, and set them to received.
-- Returns ordinal, status, event_id and error_code of those deliveries. Relies on uq_pancake_webhook_event_identity:
-- OFFSET 0 keeps the planner on one index look-up per record, with any estimate of the number of held rows.
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
            AND public.pancake_event_is_held(w.status || '')
            AND w.payload IS NULL
            AND w.raw IS NULL
        OFFSET 0
    ) AS v
    WHERE d.payload IS NOT NULL
) AS h
WHERE e.id = h.id
RETURNING h.ordinal, e.status, e.id AS event_id, NULL AS error_code

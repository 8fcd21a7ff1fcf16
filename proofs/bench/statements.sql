-- name: ingest/baseline
-- What the handlers store of a delivery; {payload} is a record.
INSERT INTO pancake_webhook_event (
    connection_id, origin, record_id, table_name, modified_on, payload_hash, payload, status, arrived_at,
    normalized_phone, source_ids, created_at
)
VALUES (
    (SELECT id FROM pancake_connection LIMIT 1), 'webhook', gen_random_uuid(), 'lead', now(),
    sha256(gen_random_uuid()::text::bytea), '{payload}', 'received', now(),
    '+849' || lpad(trunc(random() * 1e8)::text, 8, '0'), ARRAY['-1'], now()
);

-- name: requests/count
-- Tickets, the requests that each has at least, and the characters of the longest description.
SELECT count(*), min((SELECT count(*) FROM jsonb_object_keys(t.data #> '{pancake,requests}'))), max(char_length(t.description))
FROM ticket AS t
WHERE t.data #> '{pancake,requests}' IS NOT NULL

-- name: scale/store_event
-- The values of the events of the record "scale-0" are in sql/history.sql.
INSERT INTO pancake_webhook_event (
    connection_id, origin, record_id, table_name, modified_on, payload_hash, payload, status, arrived_at,
    normalized_phone, source_ids, created_at
)
SELECT
    e.connection_id, e.origin, e.record_id, e.table_name, e.modified_on + interval '1 second', sha256('new'),
    e.payload, 'received', %(at)s, e.normalized_phone, e.source_ids, %(at)s
FROM pancake_webhook_event AS e
WHERE e.record_id = 'scale-0' AND e.outcome = 'no_change'
RETURNING id

-- name: scale/load_lead
SELECT
    e.id, e.claim_id, e.connection_id, e.record_id, e.table_name, e.normalized_phone AS phone, e.source_ids,
    e.ingested_at AS claimed_at, t.id::text AS ticket_id, t.account_id::text, s.id::text AS roster_source_id,
    m.id::text AS chosen, m.staff_id::text AS assignee_id
FROM pancake_webhook_event AS e
INNER JOIN pancake_webhook_event AS f ON f.record_id = e.record_id AND f.outcome = 'ticket_created'
INNER JOIN ticket AS t ON t.id = f.ticket_id
INNER JOIN pancake_source AS s ON s.connection_id = e.connection_id AND s.pancake_source_id = e.source_ids[1]
INNER JOIN pancake_assignee AS m ON m.source_id = s.id
WHERE e.id = %(id)s
LIMIT 1

-- name: late/count
-- Tickets of the history that have had no response for sla_minutes.
SELECT count(*) FROM ticket AS t WHERE t.first_response_at IS NULL AND t.created_at <= %(now)s::timestamptz - interval '30 minutes'

-- name: late/count_flagged
SELECT count(*) FROM pancake_webhook_event AS e WHERE e.evidence ? 'sla_notified_at'

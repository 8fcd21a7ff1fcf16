-- Processed events, every fifth with a ticket, of which every twentieth has no answer and is watched; the newest thousand events wait
-- to be brought back.
-- Half of those failed and are due, half were received half an hour ago.
SET session_replication_role = replica;

CREATE TEMPORARY TABLE made AS
SELECT n, now() - n * (%(days)s * interval '1 day' / %(events)s) - interval '40 minutes' AS at,
CASE WHEN n %% %(per)s = 0 AND n > 1000 THEN gen_random_uuid() END AS ticket_id,
n %% (20 * %(per)s) = 0 AND n > 1000 AS is_open,
CASE WHEN n <= 500 THEN 'failed' WHEN n <= 1000 THEN 'received' ELSE 'processed' END AS status
FROM generate_series(1, %(events)s) AS n;

INSERT INTO ticket (id, title, source_id, assignee_id, created_at, first_response_at)
SELECT m.ticket_id, 'Lead', 'ticket_source_pancake',
(SELECT s.id FROM staff AS s WHERE s.role = 'telesale' LIMIT 1), m.at,
CASE WHEN NOT m.is_open THEN m.at + interval '10 minutes' END
FROM made AS m WHERE m.ticket_id IS NOT NULL;

INSERT INTO pancake_webhook_event (connection_id, origin, record_id, table_name, modified_on,
payload_hash, payload, normalized_phone, status, error_code, outcome, ticket_id, arrived_at,
received_at, ingested_at, processed_at, next_attempt_at, attempts, source_ids, assignee_id,
ticket_watched_at, created_at)
SELECT c.id, 'webhook', gen_random_uuid()::text, 'lead', m.at, sha256(m.n::text::bytea),
jsonb_build_object('id', m.n, 'full_name', 'Nguyen Van A'),
'+849' || lpad(m.n::text, 8, '0'), m.status, CASE m.status WHEN 'failed' THEN 'internal' END,
CASE WHEN m.ticket_id IS NOT NULL THEN 'ticket_created'
WHEN m.status = 'processed' THEN 'no_change' END,
m.ticket_id, m.at, m.at,
CASE m.status WHEN 'processed' THEN m.at END, CASE m.status WHEN 'processed' THEN m.at END,
CASE m.status WHEN 'failed' THEN m.at END, CASE m.status WHEN 'received' THEN 0 ELSE 1 END,
ARRAY['-1'], t.assignee_id, CASE WHEN m.is_open THEN m.at END, m.at
FROM made AS m CROSS JOIN pancake_connection AS c LEFT JOIN ticket AS t ON t.id = m.ticket_id;

-- A backlog that Hasura is about to deliver: received rows, and the pending event of each.
INSERT INTO pancake_webhook_event (connection_id, origin, record_id, payload_hash, payload, status,
source_ids, arrived_at, received_at, created_at)
SELECT c.id, 'webhook', 'waiting-' || n, sha256(('waiting-' || n)::bytea), '{}', 'received', ARRAY['-1'],
now(), now() - interval '10 minutes', now()
FROM generate_series(1, %(backlog)s) AS n CROSS JOIN pancake_connection AS c;

INSERT INTO hdb_catalog.event_log (schema_name, table_name, trigger_name, payload)
SELECT 'public', 'pancake_webhook_event', 'pancake_webhook_event_status_update',
jsonb_build_object('op', 'INSERT', 'data', jsonb_build_object('old', NULL, 'new', jsonb_build_object('id', e.id)))
FROM pancake_webhook_event AS e WHERE e.record_id LIKE 'waiting-%%';

-- Of an engine that died: as many as it may have locked.
UPDATE hdb_catalog.event_log SET locked = now() - interval '1 minute'
WHERE id IN (SELECT l.id FROM hdb_catalog.event_log AS l WHERE NOT l.delivered LIMIT 200);

UPDATE pancake_connection SET poll_watermark = %(watermark)s;

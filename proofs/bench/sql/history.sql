-- The higher n, the older. Of four events the first creates a ticket, two change it, the last changes nothing.
-- Every twentieth ticket has no answer: the events that wrote it watch it.
SET session_replication_role = replica;

-- What the measured work stored: at a later size a poll and a retry would read it too.
DELETE FROM pancake_webhook_event WHERE origin = 'webhook' AND created_at > %(until)s;
-- What waits of the listed records would be moved by each retry, so that a poll reads other pages at each size.
UPDATE pancake_webhook_event SET status = 'skipped_source_disabled' WHERE origin = 'poll' AND status = 'received';

CREATE TEMPORARY TABLE made AS
SELECT
    n, n - n %% 4 AS record, n %% 4 = 3 AS is_first, '+84' || (100000000 + n - n %% 4) AS phone,
    (n / 4 %% %(sources)s + 1)::text AS source_id,
    %(until)s::timestamptz - n * (interval '1 day' / %(per_day)s) AS at
FROM generate_series(%(events)s - 1, %(stored)s, -1) AS n;

INSERT INTO account (id, display_name, phone_code, phone_number, normalized_phone, created_at)
SELECT md5('a' || m.record)::uuid, 'Khách', '84', '0' || substr(m.phone, 4), m.phone, m.at
FROM made AS m WHERE m.is_first;

INSERT INTO contact_book (account_id, primary_phone)
SELECT md5('a' || m.record)::uuid, m.phone FROM made AS m WHERE m.is_first;

INSERT INTO ticket (
    id, code, title, source_id, account_id, assignee_id, status, created_at, first_response_at
)
SELECT
    md5('t' || m.record)::uuid, 'S' || m.record, 'Lead', 'ticket_source_pancake',
    md5('a' || m.record)::uuid, t.ids[1 + m.record / 4 %% cardinality(t.ids)], 'in_progress', m.at,
    CASE WHEN m.record %% 80 <> 0 THEN m.at + interval '10 minutes' END
FROM made AS m
CROSS JOIN (SELECT array_agg(s.id ORDER BY s.id) AS ids FROM staff AS s WHERE s.role = 'telesale') AS t
WHERE m.is_first;

INSERT INTO pancake_webhook_event (
    connection_id, origin, record_id, table_name, modified_on, payload_hash, payload, status, outcome,
    arrived_at, received_at, ingested_at, processed_at, notified_at, claim_id, normalized_phone,
    source_ids, account_id, ticket_id, assignee_id, ticket_watched_at, evidence, created_at
)
SELECT
    c.id, 'webhook', 'scale-' || m.record, 'lead', m.at,
    sha256(m.n::text::bytea), jsonb_build_object('id', 'scale-' || m.record), 'processed',
    CASE m.n - m.record WHEN 3 THEN 'ticket_created' WHEN 0 THEN 'no_change' ELSE 'ticket_updated' END,
    m.at, m.at, m.at, m.at + interval '1 second', m.at, gen_random_uuid(), m.phone,
    ARRAY[m.source_id], md5('a' || m.record)::uuid, md5('t' || m.record)::uuid, t.assignee_id,
    CASE WHEN m.record %% 80 = 0 AND m.n <> m.record THEN m.at + interval '1 second' END,
    CASE
        WHEN m.is_first THEN jsonb_build_object('assignment', jsonb_build_object('chosen', t.assignee_id))
        ELSE '{}'
    END,
    m.at
FROM made AS m
CROSS JOIN pancake_connection AS c
LEFT JOIN ticket AS t ON m.is_first AND t.id = md5('t' || m.record)::uuid;

DROP TABLE made;

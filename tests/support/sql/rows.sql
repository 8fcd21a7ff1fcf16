-- name: rows/insert_connection
INSERT INTO pancake_connection (id, name, workspace_id, token_sha256)
VALUES ('00000000-0000-4000-8000-000000000001', 'filled', 1, decode(repeat('ab', 32), 'hex'))
ON CONFLICT DO NOTHING

-- name: rows/fill_tables
-- After insert_connection. Half of the accounts are not normalised yet.
INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)
SELECT '00000000-0000-4000-8000-000000000001', n::text, n::text, true FROM generate_series(1, 40) AS n;

INSERT INTO account (id, phone_code, phone_number, normalized_phone)
SELECT
    md5('a' || n)::uuid, '84', '0' || (900000000 + n), CASE WHEN n % 2 = 0 THEN '+84' || (900000000 + n) END
FROM generate_series(1, 40000) AS n;

INSERT INTO contact_book (account_id, primary_phone)
SELECT md5('a' || n)::uuid, '+84' || (900000000 + n) FROM generate_series(1, 20000) AS n;

INSERT INTO ticket (id, title, source_id, account_id, status)
SELECT
    md5('t' || n)::uuid, 'x', 'ticket_source_pancake', md5('a' || n)::uuid,
    CASE WHEN n % 10 = 0 THEN 'new' ELSE 'done' END
FROM generate_series(1, 20000) AS n;

INSERT INTO pancake_webhook_event (
    connection_id, origin, record_id, modified_on, payload_hash, payload, status, error_code, next_attempt_at,
    outcome, arrived_at, received_at, processed_at, notified_at, normalized_phone, source_ids, ticket_id,
    claim_id, ingested_at, created_at
)
SELECT
    '00000000-0000-4000-8000-000000000001', 'webhook', 'r-' || n % 24000, t.at, sha256(n::text::bytea), '{}',
    s.status,
    CASE WHEN s.status IN ('failed', 'dead_letter') THEN 'internal' END,
    CASE WHEN s.status = 'failed' THEN now() END,
    CASE WHEN s.status = 'processed' THEN 'ticket_created' END,
    t.at, t.at, CASE WHEN s.status = 'processed' THEN t.at END, t.at, '+84' || (900000000 + n), '{5}',
    md5('t' || n)::uuid, gen_random_uuid(), t.at, t.at
FROM generate_series(1, 40000) AS n
CROSS JOIN LATERAL (SELECT timestamptz '2026-01-01Z' + n * interval '1 minute' AS at) AS t
CROSS JOIN LATERAL (
    SELECT
        CASE
            WHEN n % 500 = 0 THEN 'failed'
            WHEN n % 501 = 0 THEN 'received'
            WHEN n % 700 = 0 THEN 'dead_letter'
            WHEN n % 900 = 0 THEN 'ingested'
            ELSE 'processed'
        END AS status
) AS s;

ANALYZE account, contact_book, ticket, pancake_webhook_event, pancake_source, pancake_connection

-- name: rows/insert_events
INSERT INTO pancake_webhook_event (
    connection_id, origin, record_id, modified_on, payload_hash, payload, status, error_code, next_attempt_at,
    outcome, arrived_at, received_at, ingested_at, processed_at, claim_id, source_ids, created_at
)
SELECT
    '00000000-0000-4000-8000-000000000001', 'webhook', %(status)s || n, now(), sha256(n::text::bytea),
    '{"id": 1}', %(status)s, 'internal', now(), 'ticket_created', now(), now(), now(), now(),
    gen_random_uuid(), '{5}', now()
FROM generate_series(1, %(count)s) AS n

-- name: rows/insert_unsent
INSERT INTO pancake_webhook_event (
    connection_id, origin, record_id, payload_hash, status, arrived_at, created_at, notifications
)
SELECT
    c.id, 'webhook', %(prefix)s || n, sha256((%(prefix)s || n)::bytea), 'skipped_source_disabled', now(), now(),
    %(notifications)s
FROM (SELECT id FROM pancake_connection LIMIT 1) AS c, generate_series(1, %(count)s) AS n
RETURNING id

-- name: rows/load_sending
SELECT
    notify_attempts AS attempts, notify_refusals AS refusals, notify_unknowns AS unknowns, notify_error AS error,
    notified_at IS NOT NULL AS is_sent, notify_given_up_at IS NOT NULL AS is_given_up
FROM pancake_webhook_event
WHERE id = %s

-- name: rows/insert_tickets
-- One second after the other.
INSERT INTO ticket (id, title, source_id, assignee_id, data, created_at)
SELECT
    md5(%(record)s || n)::uuid, 'Lead', 'ticket_source_pancake', %(owner)s,
    jsonb_build_object('pancake', jsonb_build_object('name', 'Khách ' || n)), %(at)s + n * interval '1 second'
FROM generate_series(1, %(count)s) AS n

-- name: rows/insert_events_of_tickets
INSERT INTO pancake_webhook_event (
    connection_id, origin, record_id, payload_hash, payload, status, outcome, source_ids, ticket_id, assignee_id,
    normalized_phone, evidence, arrived_at, created_at, received_at, processed_at, notified_at
)
SELECT
    c.id, 'webhook', %(record)s || n, sha256(n::text::bytea), '{}', 'processed', 'ticket_created', '{-1}',
    md5(%(record)s || n)::uuid, %(owner)s, '+849' || (10000000 + n), %(evidence)s, t.at, t.at, t.at, t.at, t.at
FROM (SELECT id FROM pancake_connection LIMIT 1) AS c, (SELECT %(at)s::timestamptz AS at) AS t,
    generate_series(1, %(count)s) AS n
RETURNING id

-- name: rows/log_calls_of_events
-- Of the engine, for all events but the bystander's.
WITH e AS (
    UPDATE hdb_catalog.event_log SET delivered = true
    WHERE payload #>> '{data,new,id}' <> (
        SELECT id::text FROM pancake_webhook_event WHERE record_id = 'bystander'
    )
    RETURNING id
)
INSERT INTO hdb_catalog.event_invocation_logs (event_id, request)
SELECT id, %s FROM e

-- name: rows/log_call_of_cron
WITH c AS (
    INSERT INTO hdb_catalog.hdb_cron_events (trigger_name, scheduled_time)
    VALUES ('pancake_check_sla', now())
    RETURNING id
)
INSERT INTO hdb_catalog.hdb_cron_event_invocation_logs (event_id, response)
SELECT id, %s FROM c


-- name: pilot/insert_leads
-- Spread over the time, each with a ticket.
WITH made AS (
    INSERT INTO ticket (title, source_id, assignee_id, created_at, first_response_at)
    SELECT 'pilot-' || n, 'ticket_source_pancake', %(owner)s, t.at, t.at + interval '12 minutes'
    FROM generate_series(1, %(leads)s) AS n
    CROSS JOIN LATERAL (SELECT %(since)s + n * (%(until)s - %(since)s) / (%(leads)s + 1) AS at) AS t
    RETURNING id, title AS record_id, created_at AS at
)
INSERT INTO pancake_webhook_event (
    connection_id, origin, record_id, modified_on, payload_hash, status, arrived_at, received_at, ingested_at,
    processed_at, created_at, claim_id, source_ids, outcome, ticket_id, evidence
)
SELECT
    c.id, 'webhook', m.record_id, m.at, sha256(m.record_id::bytea), 'processed', m.at, m.at, m.at,
    m.at + interval '1 second', m.at, gen_random_uuid(), ARRAY['source-1'], 'ticket_created', m.id,
    jsonb_build_object('assignment', jsonb_build_object('chosen', %(owner)s::text))
FROM pancake_connection AS c CROSS JOIN made AS m
ORDER BY m.at

-- name: pilot/insert_checks
-- Of all connections, each five minutes.
INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report)
SELECT 'check_connection', t.at, t.at, t.at, 'succeeded', jsonb_build_object('connections', c.found)
FROM generate_series(%s, %s, interval '5 minutes') AS t (at)
CROSS JOIN (
    SELECT jsonb_agg(jsonb_build_object('connection_id', p.id)) AS found FROM pancake_connection AS p
) AS c

-- name: pilot/insert_run
INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report)
VALUES (%(name)s, %(at)s, %(at)s, %(at)s + interval '4 minutes', 'succeeded', %(report)s)

-- name: pilot/insert_lead
-- With its connection.
WITH c AS (
    INSERT INTO pancake_connection (name, workspace_id, token_sha256) VALUES ('Diva', 1, sha256('x'))
    RETURNING id
)
INSERT INTO pancake_webhook_event (connection_id, origin, payload_hash, status, arrived_at, created_at)
SELECT id, 'webhook', sha256('x'), 'received', now(), now() FROM c

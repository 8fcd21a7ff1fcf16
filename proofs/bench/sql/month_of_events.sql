-- Events of the last days, without their tickets, and the runs of all crons.
SET session_replication_role = replica;

SET synchronous_commit = off;

-- Nine of ten leads became a ticket.
INSERT INTO pancake_webhook_event (
    connection_id, origin, record_id, modified_on, payload_hash, payload, status, error_code, outcome,
    arrived_at, received_at, processed_at, notified_at, normalized_phone, source_ids, ticket_id,
    assignee_id, created_at
)
SELECT
    c.id, 'webhook', 'r-' || n, t.at, sha256(n::text::bytea), '{"id": 1}', s.status,
    CASE WHEN s.status = 'dead_letter' THEN 'invalid_phone' END,
    CASE WHEN s.status = 'processed' THEN 'ticket_created' END, t.at, t.at,
    CASE WHEN s.status = 'processed' THEN t.at END, t.at, '+84' || (900000000 + n), '{-1}',
    CASE WHEN s.status = 'processed' THEN md5('t' || n)::uuid END,
    'c0000000-0000-4000-8000-000000000001', t.at
FROM generate_series(1, %(events)s) AS n
CROSS JOIN LATERAL (SELECT now() - n * (%(days)s * interval '1 day' / %(events)s) AS at) AS t
CROSS JOIN LATERAL (
    SELECT
        CASE n %% 20 WHEN 0 THEN 'dead_letter' WHEN 1 THEN 'skipped_source_disabled' ELSE 'processed' END
            AS status
) AS s
CROSS JOIN pancake_connection AS c;

INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome)
SELECT n.name, t.at, t.at, t.at, 'succeeded'
FROM unnest(%(crons)s::text[]) AS n (name)
CROSS JOIN generate_series(now() - interval '30 days', now(), interval '5 minutes') AS t (at);

RESET session_replication_role;

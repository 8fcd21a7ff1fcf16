-- Every fourth event is a later version of the record before it; of 100 records one has an unusable phone.
SET session_replication_role = replica;

INSERT INTO pancake_connection (id, name, workspace_id, token_sha256)
VALUES (%(connection)s, 'benchmark', 1, sha256('token'));

INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)
VALUES (%(connection)s, '-1', 'Facebook', true);

INSERT INTO account (id, display_name, phone_code, phone_number, normalized_phone)
SELECT md5('a' || n)::uuid, 'Khách ' || n, '84', '0' || (900000000 + n), '+84' || (900000000 + n)
FROM generate_series(1, %(events)s) AS n WHERE n %% 4 > 0 AND n %% 100 <> 99;

INSERT INTO contact_book (account_id, primary_phone)
SELECT a.id, a.normalized_phone FROM account AS a WHERE a.display_name LIKE 'Khách %%';

INSERT INTO ticket (id, code, title, source_id, account_id, assignee_id, status)
SELECT md5('t' || n)::uuid, 'B' || n, 'x', 'ticket_source_pancake', md5('a' || n)::uuid,
'c0000000-0000-4000-8000-000000000001', 'new'
FROM generate_series(1, %(events)s) AS n WHERE n %% 4 > 0 AND n %% 100 <> 99;

INSERT INTO pancake_webhook_event (connection_id, origin, record_id, table_name, modified_on,
payload_hash, payload, status, error_code, outcome, arrived_at, received_at, ingested_at, processed_at,
claim_id, normalized_phone, source_ids, account_id, ticket_id, assignee_id, evidence, notifications,
notified_at, created_at)
SELECT %(connection)s, 'webhook', 'record-' || r.n, 'lead', t.at, sha256(g.event::text::bytea),
jsonb_build_object('id', 'record-' || r.n, 'name', 'Khách ' || r.n, 'phone_number',
  CASE WHEN b.is_bad THEN '0' || r.n ELSE '0' || (900000000 + r.n) END,
  'source', ARRAY['-1'], 'full_address', repeat('126 Hàng Trống, ', 20)),
CASE WHEN b.is_bad THEN 'dead_letter' ELSE 'processed' END,
CASE WHEN b.is_bad THEN 'invalid_phone' END, CASE WHEN NOT b.is_bad THEN o.outcome END,
t.at, t.at, t.at, CASE WHEN NOT b.is_bad THEN t.at END, gen_random_uuid(),
CASE WHEN NOT b.is_bad THEN '+84' || (900000000 + r.n) END, ARRAY['-1'],
CASE WHEN NOT b.is_bad THEN md5('a' || r.n)::uuid END,
CASE WHEN NOT b.is_bad THEN md5('t' || r.n)::uuid END,
CASE WHEN NOT b.is_bad THEN 'c0000000-0000-4000-8000-000000000001'::uuid END,
jsonb_build_object('result', o.outcome, 'digests', jsonb_build_object('name', 'k:0123456789abcdef'),
  'phone', jsonb_build_object('usable', ARRAY['+84' || (900000000 + r.n)],
  'candidates', ARRAY[]::text[], 'winner', md5('a' || r.n)::uuid,
  'matched', '+84' || (900000000 + r.n))),
jsonb_build_array(jsonb_build_object('name', 'new_lead', 'template_code', 'noti_pancake_new_lead',
  'recipient_ids', ARRAY['c0000000-0000-4000-8000-000000000001'],
  'data', jsonb_build_object('phone', '+84' || (900000000 + r.n)))), t.at, t.at
FROM generate_series(1, %(events)s) AS g (event)
CROSS JOIN LATERAL (SELECT g.event - (g.event %% 4 = 0)::integer AS n) AS r
CROSS JOIN LATERAL (SELECT r.n %% 100 = 99 AS is_bad) AS b
CROSS JOIN LATERAL (SELECT CASE WHEN r.n = g.event THEN 'ticket_created' ELSE 'ticket_updated' END
  AS outcome) AS o
CROSS JOIN LATERAL (SELECT now() - (%(events)s - g.event) * interval '7 seconds' AS at) AS t;

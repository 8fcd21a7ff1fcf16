-- Rows with fixed keys and times.
INSERT INTO pancake_connection (id, name, workspace_id, table_names, record_timezone, token_sha256, api_key_encrypted, webhook_secret_encrypted, allowed_ip_ranges, status_changed_at, last_poll_at, poll_watermark, created_at, updated_at) VALUES
('f0000000-0000-4000-8000-000000000001', 'Diva chính', 120, '{lead,contact}', 'Asia/Ho_Chi_Minh', sha256('one'), '\x01', '\x02', '{10.0.0.0/8,192.168.7.0/24}', '2025-06-01 00:00:00+00', '2025-06-30 23:59:59.123456+00', '2025-06-30 23:55:00+00', '2025-05-01 00:00:00+00', '2025-05-01 00:00:00+00'),
('f0000000-0000-4000-8000-000000000002', 'Anh "Hai" \ 2', 121, '{lead}', 'UTC', sha256('two'), NULL, NULL, '{}', '2025-06-02 00:00:00+00', NULL, NULL, '2025-05-02 00:00:00+00', '2025-05-02 00:00:00+00');
INSERT INTO pancake_source (id, connection_id, pancake_source_id, name, parent_source_id, is_active, is_removed, first_seen_at, synced_at) VALUES
('f1000000-0000-4000-8000-000000000001', 'f0000000-0000-4000-8000-000000000001', 'fb_1', 'Facebook chính', NULL, true, false, '2025-05-01 00:00:00+00', '2025-06-30 00:00:00+00'),
('f1000000-0000-4000-8000-000000000002', 'f0000000-0000-4000-8000-000000000001', 'fb_2', 'Facebook phụ', 'fb_1', false, false, '2025-05-02 00:00:00+00', NULL),
('f1000000-0000-4000-8000-000000000003', 'f0000000-0000-4000-8000-000000000001', 'old', 'Đã bỏ', NULL, false, true, '2025-05-03 00:00:00+00', NULL),
('f1000000-0000-4000-8000-000000000004', 'f0000000-0000-4000-8000-000000000002', 'unnamed', NULL, NULL, false, false, '2025-05-04 00:00:00+00', NULL);
INSERT INTO pancake_assignee (id, source_id, staff_id, is_active, weight, assigned_count, total_assigned, created_at) VALUES
('f2000000-0000-4000-8000-000000000001', 'f1000000-0000-4000-8000-000000000001', 'c0000000-0000-4000-8000-000000000001', true, 1, 4, 9007199254740993, '2025-05-01 00:00:00+00'),
('f2000000-0000-4000-8000-000000000002', 'f1000000-0000-4000-8000-000000000001', 'c0000000-0000-4000-8000-000000000002', true, 3, 10, 10, '2025-05-02 00:00:00+00'),
('f2000000-0000-4000-8000-000000000003', NULL, 'c0000000-0000-4000-8000-000000000003', false, 2, 0, 0, '2025-05-03 00:00:00+00');
UPDATE account SET created_at = '2024-01-01 00:00:00+00' WHERE created_at > '2026-01-01';
UPDATE contact_book SET created_at = '2024-01-01 00:00:00+00', updated_at = '2024-01-01 00:00:00+00';
UPDATE crm_master_data SET updated_at = '2024-01-01 00:00:00+00';
UPDATE ticket SET id = 'f3000000-0000-4000-8000-000000000001', created_at = '2024-01-01 00:00:00+00', updated_at = '2024-01-01 00:00:00+00', data = '{"n": 1.50, "big": 12345678901234567890, "list": [1, null, "á"], "key": {"b": 1, "a": 2}}';
INSERT INTO pancake_webhook_event (connection_id, origin, record_id, table_name, modified_on, payload_hash, payload, status, error_code, error_detail, arrived_at, normalized_phone, source_ids, created_at) VALUES
('f0000000-0000-4000-8000-000000000001', 'webhook', 'r1', 'lead', '2025-06-01 01:02:03.456789+00', sha256('1'), '{"id": "r1", "name": "Lý Thị Sen", "nested": {"n": 1.0, "e": 1e3}}', 'received', NULL, NULL, '2025-06-01 01:02:04+00', '84912345678', '{fb_1}', '2025-06-01 01:02:05+00'),
('f0000000-0000-4000-8000-000000000001', 'poll', 'r2', 'lead', '2025-06-02 00:00:00+00', sha256('2'), NULL, 'dead_letter', 'bad_phone', E'line one\nline "two"', '2025-06-02 00:00:01+00', NULL, '{}', '2025-06-02 00:00:02+00'),
('f0000000-0000-4000-8000-000000000001', 'webhook', 'r3', NULL, NULL, sha256('3'), 'null', 'skipped_kill_switch', NULL, NULL, '2025-06-03 00:00:00+00', NULL, '{fb_1,fb_2}', '2025-06-03 00:00:00+00'),
('f0000000-0000-4000-8000-000000000002', 'reconcile', NULL, NULL, NULL, sha256('4'), '[1, "2"]', 'skipped_source_disabled', NULL, NULL, '2025-06-04 00:00:00+00', NULL, '{unnamed}', '2025-06-04 00:00:00+00');
UPDATE pancake_webhook_event SET status = 'ingested', claim_id = 'f4000000-0000-4000-8000-000000000001', ingested_at = '2025-06-01 01:03:00+00' WHERE record_id = 'r1';
UPDATE pancake_webhook_event SET status = 'processed', outcome = 'ticket_created', processed_at = '2025-06-01 01:04:00+00', account_id = 'd0000000-0000-4000-8000-000000000001', ticket_id = 'f3000000-0000-4000-8000-000000000001', assignee_id = 'c0000000-0000-4000-8000-000000000001', evidence = '{"rule": "roster", "score": 0.10}', received_at = '2025-06-01 01:02:06+00' WHERE record_id = 'r1';
UPDATE pancake_webhook_event SET held_at = '2025-06-05 00:00:00+00' WHERE held_at IS NOT NULL;
INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report) VALUES
('check_connection', '2025-06-01 00:05:00+00', '2025-06-01 00:05:01+00', '2025-06-01 00:05:02+00', 'succeeded', '{"connections": [{"connection_id": "f0000000-0000-4000-8000-000000000001", "before": "active", "after": "silent"}]}'),
('check_sla', '2025-06-01 00:05:00+00', '2025-06-01 00:05:01+00', '2025-06-01 00:05:02.5+00', 'succeeded', '{"kpi": {"median": 12.5, "count": 3, "none": null}}'),
('purge_events', '2025-06-01 20:30:00+00', '2025-06-01 20:30:01+00', NULL, 'running', '{}');
CREATE TABLE corpus_kind (value text PRIMARY KEY, comment text);
INSERT INTO corpus_kind VALUES ('plain', 'Plain'), ('fancy', NULL);
CREATE TYPE corpus_mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE corpus_thing (
a integer, b text, n numeric, r real, d double precision, day date, at timestamp, tz timestamptz, t time, ttz timetz, len interval, flag boolean, small smallint, big bigint,
doc jsonb, old json, list integer[], words text[], mood corpus_mood, kind text REFERENCES corpus_kind, net inet, code char(3), vc varchar(5), bytes bytea, u uuid, parent_a integer, parent_b text,
PRIMARY KEY (a, b), UNIQUE (small), FOREIGN KEY (parent_a, parent_b) REFERENCES corpus_thing, CHECK (n <> 13)
);
INSERT INTO corpus_thing VALUES
(1, 'x', 1.50, 1.5, 0.1, '2025-01-02', '2025-01-02 03:04:05', '2025-01-02 03:04:05.678+00', '03:04:05', '03:04:05+07', '1 day 02:03:04', true, 1, 9007199254740993, '{"a": [1, {"b": null}], "s": "text"}', '{"z":1,  "a":2}', '{1,2,NULL}', '{a,"b c"}', 'happy', 'plain', '10.1.2.3', 'ab', 'vc', '\xdeadbeef', 'f5000000-0000-4000-8000-000000000001', NULL, NULL),
(2, 'y', 'NaN', 'Infinity', 1e300, '0044-03-15 BC', '2025-06-01', 'infinity', '00:00', NULL, '-1 mon', false, 2, -1, 'null', NULL, '{}', NULL, 'sad', 'fancy', NULL, NULL, NULL, NULL, NULL, 1, 'x'),
(3, 'ü', 123456789012345678901234567890.123, 3.4e38, -0.0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, 'x');
CREATE FUNCTION corpus_find(word text, most integer DEFAULT 10) RETURNS SETOF corpus_thing LANGUAGE sql STABLE AS $$ SELECT * FROM corpus_thing WHERE b LIKE '%' || word || '%' ORDER BY a LIMIT most $$;
CREATE FUNCTION corpus_title(thing corpus_thing) RETURNS text LANGUAGE sql STABLE AS $$ SELECT thing.a || ':' || thing.b $$;
CREATE FUNCTION corpus_bump(id integer) RETURNS SETOF corpus_thing LANGUAGE sql VOLATILE AS $$ UPDATE corpus_thing SET big = coalesce(big, 0) + 1 WHERE a = id RETURNING * $$;

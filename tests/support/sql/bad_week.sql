-- name: bad_week/make_dead_letters
UPDATE pancake_webhook_event
SET status = 'dead_letter', error_code = 'internal', outcome = NULL
WHERE id IN (SELECT id FROM pancake_webhook_event WHERE created_at < now() - interval '2 days' ORDER BY id LIMIT 10)

-- name: bad_week/make_late_tickets
WITH late AS (
    UPDATE pancake_webhook_event
    SET evidence = evidence || jsonb_build_object('sla_notified_at', created_at + interval '31 minutes')
    WHERE record_id LIKE 'pilot-1__'
    RETURNING ticket_id
)
UPDATE ticket AS t SET first_response_at = t.created_at + interval '1 hour' FROM late WHERE t.id = ticket_id

-- name: bad_week/make_missing_leads
UPDATE pancake_cron_run
SET report = jsonb_set(
    jsonb_set(report, '{days,0,left_missing}', '["r-1"]'), '{days,0,found_missing}', '["r-1", "r-2", "r-3", "r-4", "r-5"]'
)
WHERE id = (SELECT max(id) FROM pancake_cron_run WHERE name = 'reconcile_daily')

-- name: bad_week/make_held_leads
SET session_replication_role = replica;
UPDATE pancake_webhook_event SET held_at = created_at WHERE record_id LIKE 'pilot-5__'

-- name: bad_week/change_owners
UPDATE ticket
SET assignee_id = (SELECT s.id FROM staff AS s WHERE s.id <> assignee_id LIMIT 1)
WHERE title LIKE 'pilot-2__'

-- name: bad_week/suspend
SET session_replication_role = replica;
INSERT INTO integration_change (changed_at, changed_by, kind, action, row_id, before, after)
SELECT now() - interval '60 hours', 'x', 'connection', 'update', c.id, '{"status": "active"}', '{"status": "suspended"}'
FROM pancake_connection AS c

-- name: bad_week/delete_night
DELETE FROM pancake_cron_run
WHERE id = (SELECT id FROM pancake_cron_run WHERE name = 'reconcile_daily' ORDER BY started_at OFFSET 1 LIMIT 1)

-- name: bad_week/delete_checks
DELETE FROM pancake_cron_run
WHERE name = 'check_connection' AND started_at BETWEEN now() - interval '50 hours' AND now() - interval '47 hours'

-- name: bad_week/activate_second_source
SET session_replication_role = replica;
INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)
SELECT id, 'second', 'x', false FROM pancake_connection;
INSERT INTO integration_change (changed_at, changed_by, kind, action, row_id, before, after)
SELECT
    now() - interval '1 hour' * h, 'x', 'source', 'update', s.id::text,
    jsonb_build_object('is_active', h = 50), jsonb_build_object('is_active', h = 60)
FROM pancake_source AS s CROSS JOIN (VALUES (60), (50)) AS t (h)
WHERE s.pancake_source_id = 'second'

-- name: bad_week/make_reconciliation_slow
UPDATE pancake_cron_run
SET finished_at = started_at + interval '40 minutes'
WHERE id = (
    SELECT id FROM pancake_cron_run
    WHERE name = 'reconcile_daily' AND started_at < now() - interval '41 minutes'
    ORDER BY started_at DESC LIMIT 1
)

-- name: attack/make_dead_letters_processed
UPDATE pancake_webhook_event
SET status = 'processed', error_code = NULL, outcome = 'no_change'
WHERE status = 'dead_letter'

-- name: attack/make_dead_letters_replayed
UPDATE pancake_webhook_event
SET
    status = 'processed', error_code = NULL, outcome = 'no_change',
    replay_count = 1, replayed_at = created_at, replayed_by = 'lan'
WHERE status = 'dead_letter'

-- name: attack/make_dead_letters_invalid
UPDATE pancake_webhook_event SET error_code = 'invalid_phone' WHERE status = 'dead_letter'

-- name: attack/delete_bad_leads
DELETE FROM pancake_webhook_event WHERE status = 'dead_letter'

-- name: attack/delete_late_tickets
DELETE FROM ticket WHERE first_response_at > created_at + interval '30 minutes'

-- name: attack/answer_late_tickets
UPDATE ticket SET first_response_at = created_at + interval '1 minute'

-- name: attack/take_out_missing_leads
UPDATE pancake_cron_run SET report = jsonb_set(report, '{days,0,left_missing}', '[]') WHERE name = 'reconcile_daily'

-- name: attack/take_out_found_leads
UPDATE pancake_cron_run SET report = jsonb_set(report, '{days,0,found_missing}', '[]') WHERE name = 'reconcile_daily'

-- name: attack/free_held_leads
SET session_replication_role = replica;
UPDATE pancake_webhook_event SET held_at = NULL

-- name: attack/answer_late_tickets_without_alarm
SET session_replication_role = replica;
UPDATE ticket SET first_response_at = created_at + interval '1 minute';
UPDATE pancake_webhook_event SET evidence = evidence - 'sla_notified_at'

-- name: attack/give_tickets_back
UPDATE ticket AS t
SET assignee_id = (e.evidence -> 'assignment' ->> 'chosen')::uuid
FROM pancake_webhook_event AS e
WHERE e.ticket_id = t.id

-- name: attack/take_out_suspension
SET session_replication_role = replica;
DELETE FROM integration_change WHERE after ->> 'status' = 'suspended'

-- name: attack/make_up_night
INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report)
SELECT
    name, scheduled_time + interval '1 day', started_at + interval '1 day', finished_at + interval '1 day', outcome,
    jsonb_set(report, '{days,0,day}', to_jsonb((report #>> '{days,0,day}')::date + 1))
FROM pancake_cron_run
WHERE name = 'reconcile_daily'
ORDER BY started_at
LIMIT 1

-- name: attack/make_up_checks
INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report)
SELECT r.name, r.scheduled_time + t.later, r.started_at + t.later, r.finished_at + t.later, r.outcome, r.report
FROM pancake_cron_run AS r CROSS JOIN (SELECT interval '3 hours 7 seconds' AS later) AS t
WHERE r.name = 'check_connection' AND r.started_at BETWEEN now() - interval '53 hours' AND now() - interval '50 hours'

-- name: attack/take_out_second_source
SET session_replication_role = replica;
DELETE FROM integration_change AS h USING pancake_source AS s
WHERE h.kind = 'source' AND h.row_id = s.id::text AND s.pancake_source_id = 'second'

-- name: attack/make_reconciliation_quick
UPDATE pancake_cron_run
SET finished_at = started_at + interval '4 minutes'
WHERE id = (
    SELECT id FROM pancake_cron_run
    WHERE name = 'reconcile_daily' AND started_at < now() - interval '41 minutes'
    ORDER BY started_at DESC LIMIT 1
)

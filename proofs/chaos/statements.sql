-- name: effects/load_events
SELECT
    e.id, e.record_id, e.status,
    to_char(e.modified_on AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US') AS modified_on
FROM pancake_webhook_event AS e

-- name: effects/load_customers
SELECT 'account ' || a.normalized_phone AS id
FROM account AS a WHERE a.pancake_metadata IS NOT NULL AND a.deleted_at IS NULL
UNION ALL
SELECT 'contact ' || c.primary_phone FROM contact_book AS c
WHERE EXISTS (SELECT FROM pancake_webhook_event AS e WHERE e.normalized_phone = c.primary_phone)

-- name: effects/load_tickets
SELECT
    t.data -> 'pancake' ->> 'record_id' AS record_id, t.data -> 'pancake' ->> 'name' AS name,
    t.assignee_id::text AS owner
FROM ticket AS t WHERE t.source_id = 'ticket_source_pancake'

-- name: effects/load_assigned
SELECT r.staff_id::text AS owner, sum(r.total_assigned)::integer AS assigned
FROM pancake_assignee AS r GROUP BY r.staff_id

-- name: effects/count_unfinished
SELECT count(*) AS number FROM pancake_webhook_event AS e
WHERE
    e.status <> ALL (%s)
    OR (e.notified_at IS NULL AND e.notify_given_up_at IS NULL AND e.notifications <> '[]'::jsonb)

-- name: effects/load_rows
SELECT
    id, record_id, date_trunc('milliseconds', modified_on) AS modified_on, normalized_phone AS phone,
    origin, status, replay_count, created_at, evidence ? 'told_later' AS is_told_later
FROM pancake_webhook_event ORDER BY id

-- name: effects/load_open_tickets
SELECT a.normalized_phone AS phone
FROM ticket AS t JOIN account AS a ON a.id = t.account_id
WHERE t.source_id = 'ticket_source_pancake' AND t.status IN ('new', 'in_progress')

-- name: effects/load_runs
SELECT
    r.name || ' ' || to_char(r.scheduled_time AT TIME ZONE 'UTC', 'DD HH24:MI:SS') AS tick,
    r.name, r.outcome
FROM pancake_cron_run AS r

-- name: effects/load_engine_ticks
SELECT
    replace(e.trigger_name, 'pancake_', '') || ' '
    || to_char(e.scheduled_time AT TIME ZONE 'UTC', 'DD HH24:MI:SS') AS tick,
    e.status = 'delivered' AS is_delivered,
    (
        SELECT count(*) FROM hdb_catalog.hdb_cron_event_invocation_logs AS l
        WHERE l.event_id = e.id AND l.response::text LIKE '%%succeeded%%'
    ) AS succeeded
FROM hdb_catalog.hdb_cron_events AS e
WHERE e.scheduled_time >= %s AND e.scheduled_time < %s

-- name: crashes/lock_event
UPDATE hdb_catalog.event_log SET locked = now()
WHERE id = (
    SELECT l.id FROM hdb_catalog.event_log AS l
    WHERE NOT l.delivered AND NOT l.error AND NOT l.archived
        AND (l.locked IS NULL OR l.locked < now() - interval '30 minutes')
        AND (l.next_retry_at IS NULL OR l.next_retry_at <= now())
    ORDER BY l.created_at LIMIT 1
)
RETURNING id, trigger_name, payload, tries

-- name: crashes/age_leases
UPDATE pancake_webhook_event SET
    received_at = received_at - %(by)s, ingested_at = ingested_at - %(by)s,
    notify_claimed_at = notify_claimed_at - %(by)s;
UPDATE pancake_cron_run SET notify_claimed_at = notify_claimed_at - %(by)s;
UPDATE hdb_catalog.event_log SET
    locked = locked - %(by)s, next_retry_at = next_retry_at - %(by)s, created_at = created_at - %(by)s;

-- name: crashes/set_rosters
UPDATE pancake_assignee SET is_active = %(on)s

-- name: crashes/set_kill_switch
UPDATE app_setting
SET app_settings = jsonb_set(app_settings, '{pancake_integration,kill_switch}', %(on)s::text::jsonb)

-- name: crashes/fail_event
UPDATE pancake_webhook_event SET
    status = 'failed', attempts = 1, next_attempt_at = now() - interval '1 minute',
    ingested_at = now() - interval '2 minutes', error_code = 'internal'
WHERE record_id = %(record)s;

UPDATE hdb_catalog.event_log SET delivered = true WHERE (payload #>> '{data,new,id}')::bigint = (
    SELECT e.id FROM pancake_webhook_event AS e WHERE e.record_id = %(record)s
)

-- name: crashes/abandon_event
UPDATE pancake_webhook_event SET
    status = 'ingested', attempts = 1, claim_id = gen_random_uuid(),
    ingested_at = now() - interval '5 minutes'
WHERE record_id = %(record)s;

UPDATE hdb_catalog.event_log SET delivered = true WHERE (payload #>> '{data,new,id}')::bigint = (
    SELECT e.id FROM pancake_webhook_event AS e WHERE e.record_id = %(record)s
)

-- name: crashes/lock_for_a_dead_engine
UPDATE pancake_webhook_event SET received_at = received_at - interval '5 minutes'
WHERE record_id = %(record)s;
UPDATE hdb_catalog.event_log SET locked = now() - interval '5 minutes'
WHERE (payload #>> '{data,new,id}')::bigint = (
    SELECT e.id FROM pancake_webhook_event AS e WHERE e.record_id = %(record)s
)

-- name: crashes/age_events
UPDATE pancake_webhook_event
SET
    created_at = created_at - %(by)s, received_at = received_at - %(by)s,
    arrived_at = arrived_at - %(by)s, processed_at = processed_at - %(by)s,
    ingested_at = ingested_at - %(by)s

-- name: crashes/count_unfinished
SELECT
    (SELECT count(*) FROM pancake_webhook_event WHERE status IN ('received', 'ingested', 'failed'))
    + (
        SELECT count(*) FROM pancake_webhook_event
        WHERE notified_at IS NULL AND notify_given_up_at IS NULL AND notifications <> '[]'::jsonb
    )
    + (
        SELECT count(*) FROM pancake_cron_run
        WHERE notified_at IS NULL AND notify_given_up_at IS NULL
            AND COALESCE(report -> 'notifications', '[]') <> '[]'::jsonb
    )
    + (SELECT count(*) FROM pancake_cron_run WHERE outcome = 'running')
    + (
        SELECT count(*) FROM hdb_catalog.event_log
        WHERE NOT delivered AND NOT error AND locked IS NULL
    )

-- name: outages/list_locked
SELECT (payload #>> '{data,new,id}')::bigint FROM hdb_catalog.event_log WHERE locked IS NOT NULL

-- name: outages/list_claimed
SELECT id FROM pancake_webhook_event WHERE status = 'ingested'

-- name: outages/list_received
SELECT id FROM pancake_webhook_event WHERE status = 'received'

-- name: outages/load_slowest
SELECT
    coalesce(extract(epoch FROM max(processed_at - arrived_at)), 0)::float8,
    count(*) FILTER (WHERE processed_at > arrived_at + interval '15 seconds')
FROM pancake_webhook_event WHERE status = 'processed'

-- name: outages/load_slowest_left
SELECT coalesce(extract(epoch FROM max(processed_at) - %s), 0)::float8
FROM pancake_webhook_event WHERE id = ANY(%s)

-- name: loadtest/load_wal_bytes
SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint

-- name: loadtest/load_tickets
-- The row version of a ticket that no later version of its record changed is that of its creation.
SELECT
    t.data -> 'pancake' ->> 'record_id',
    extract(epoch FROM pg_xact_commit_timestamp(t.xmin))::float8
FROM ticket AS t
WHERE t.source_id = 'ticket_source_pancake' AND t.data -> 'pancake' ->> 'record_id' = ANY (%s)

-- name: loadtest/load_table_sizes
SELECT n.nspname || '.' || c.relname, pg_total_relation_size(c.oid)
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE
    c.relkind = 'r' AND n.nspname IN ('public', 'hdb_catalog')
    AND pg_total_relation_size(c.oid) > 65536
ORDER BY 2 DESC

-- name: month/work_by_hand
-- A table that is large enough for its reads to be compared, and the tickets of the manual way.
INSERT INTO contact_book (name) SELECT 'An' FROM generate_series(0, 10000);
ANALYZE account, contact_book;
INSERT INTO ticket (title, source_id, created_at, first_response_at)
SELECT 'by hand', 'ticket_source_1', t.at, t.at + interval '90 minutes'
FROM generate_series(now() - interval '12 days', now() - interval '1 day', interval '2 hours') AS t (at)

-- name: month/list_unfinished
SELECT id FROM pancake_webhook_event WHERE status IN ('received', 'ingested', 'failed') LIMIT 1

-- name: month/answer_tickets
UPDATE ticket SET first_response_at = now()
WHERE source_id = 'ticket_source_pancake' AND first_response_at IS NULL

-- name: month/store_checks
-- A run of check_connection every five minutes: its ticks are not delivered while the clock skips.
INSERT INTO pancake_cron_run (name, scheduled_time, started_at, finished_at, outcome, report)
SELECT 'check_connection', t.at, t.at, t.at, 'succeeded', jsonb_build_object('connections', c.found)
FROM generate_series(
    date_bin('5 minutes', %s::timestamptz, timestamptz 'epoch'), %s::timestamptz, interval '5 minutes'
) AS t (at)
CROSS JOIN (
    SELECT jsonb_agg(jsonb_build_object('connection_id', p.id)) AS found FROM pancake_connection AS p
) AS c
ON CONFLICT DO NOTHING

-- name: month/list_inactive
-- As many as are missing for so many active ones, those with leads first.
SELECT s.pancake_source_id FROM pancake_source AS s
WHERE NOT s.is_removed AND NOT s.is_active
ORDER BY length(s.pancake_source_id), s.pancake_source_id
LIMIT %s - (SELECT count(*) FROM pancake_source AS a WHERE a.is_active AND NOT a.is_removed)

-- name: month/find_held
SELECT e.id FROM pancake_webhook_event AS e
WHERE e.status = 'skipped_source_disabled'
    AND e.source_ids && ARRAY(SELECT s.pancake_source_id FROM pancake_source AS s WHERE s.is_active)
ORDER BY e.id DESC LIMIT 1

-- name: month/enforce
UPDATE pancake_connection
SET signature_mode = 'enforce', allowed_ip_ranges = '{127.0.0.0/8}', allowlist_mode = 'enforce'

-- name: month/count_events
SELECT e.status, count(*) FROM pancake_webhook_event AS e GROUP BY e.status ORDER BY e.status

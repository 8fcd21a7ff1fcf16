-- The figures of the report, each on its own, for tests/ops/test_report.py, of one source if %(source)s is given. The business hours are
-- 08:00 to 19:15 on each day. Returns one row with the names of the figures, the ids of three, and the owners.
WITH w AS (
    SELECT *, coalesce(source_ids[1], '(none)') AS source FROM pancake_webhook_event
    WHERE created_at >= %(from)s AND created_at < %(to)s AND coalesce(table_name, '') NOT IN ('account', 'contact')
), t AS MATERIALIZED (
    SELECT w.id, w.source, w.evidence #>> '{assignment,chosen}' AS chosen, k.assignee_id::text AS owner, k.created_at,
        k.first_response_at AS called, k.status IN ('new', 'in_progress') AS open
    FROM w JOIN ticket AS k ON k.id = w.ticket_id
    WHERE w.outcome = 'ticket_created' AND w.source = coalesce(%(source)s, w.source)
), f AS (
    SELECT * FROM (
        SELECT DISTINCT ON (connection_id, record_id) * FROM w WHERE record_id IS NOT NULL ORDER BY connection_id, record_id, id
    ) AS w WHERE w.source = coalesce(%(source)s, w.source)
), n AS (  -- the first versions that made no ticket
    SELECT f.*, EXISTS (SELECT FROM pancake_webhook_event AS b WHERE b.record_id = f.record_id
        AND b.connection_id = f.connection_id AND b.id < f.id AND b.applied_at IS NOT NULL) AS known
    FROM f WHERE f.id NOT IN (SELECT id FROM t)
), p AS (SELECT * FROM n WHERE status = 'processed' AND outcome NOT IN ('record_deleted', 'ticket_created')),
d AS (SELECT *, evidence -> 'error' ? 'no_phone' AS none FROM n WHERE status = 'dead_letter' AND error_code = 'invalid_phone'),
b AS (
    SELECT id FROM w
    WHERE w.source = coalesce(%(source)s, w.source)
        AND (status = 'failed' OR status = 'dead_letter' AND error_code NOT IN ('erased', 'test_ping', 'invalid_phone'))
        AND NOT EXISTS (SELECT FROM pancake_webhook_event AS b WHERE b.record_id = w.record_id
            AND b.connection_id = w.connection_id AND b.id > w.id)
), m AS (
    SELECT extract(epoch FROM called - created_at) / 60 AS minutes, (
        SELECT extract(epoch FROM sum(greatest(least(called, day + '19:15') - greatest(created_at, day + '08:00'), '0'))) / 60
        FROM generate_series(date_trunc('day', created_at, 'Asia/Ho_Chi_Minh'), called, '1 day') AS day
    ) AS business_minutes
    FROM t WHERE called IS NOT NULL
), o AS (
    SELECT owner, count(*) AS tickets, count(*) / (sum(count(*)) OVER ())::float AS share, count(*) FILTER (WHERE owner <> chosen) AS changed,
        count(*) FILTER (WHERE chosen IS NULL) AS by_hand, count(*) FILTER (WHERE called IS NULL AND open) AS unanswered
    FROM t WHERE owner IS NOT NULL GROUP BY owner
)
SELECT
    (SELECT count(*) FROM f) AS leads,
    (SELECT count(*) FROM f JOIN t USING (id)) AS new_tickets,
    (SELECT count(*) FROM p WHERE NOT known AND outcome = 'ticket_updated') AS joined,
    (SELECT count(*) FROM p WHERE known) AS updated,
    (SELECT count(*) FROM n WHERE status LIKE 'skipped%%') AS held,
    (SELECT count(*) FROM n WHERE status = 'skipped_kill_switch') AS held_by_kill_switch,
    (SELECT count(*) FROM n WHERE status = 'skipped_source_disabled' AND evidence ->> 'held_by' = 'connection_disabled') AS held_by_connection,
    (SELECT count(*) FROM n WHERE status = 'skipped_source_disabled'
        AND evidence ->> 'held_by' IS DISTINCT FROM 'connection_disabled') AS held_by_source,
    (SELECT count(*) FROM d WHERE NOT none) AS bad_phone,
    (SELECT count(*) FROM d WHERE none) AS no_phone,
    (SELECT count(*) FROM n WHERE status IN ('received', 'failed')
        OR status = 'dead_letter' AND error_code <> 'invalid_phone' OR outcome IN ('record_deleted', 'ticket_created')
        OR status = 'processed' AND NOT known AND outcome <> 'ticket_updated') AS other,
    (SELECT count(*) FROM f WHERE origin <> 'webhook') AS missed_by_webhook,
    (SELECT count(*) FROM b) AS broken,
    (SELECT count(*) FROM t) AS tickets,
    (SELECT count(*) FROM t WHERE id NOT IN (SELECT id FROM f)) AS later_tickets,
    (SELECT count(*) FROM t WHERE owner = chosen) AS kept,
    (SELECT count(*) FROM t WHERE owner <> chosen) AS changed,
    (SELECT count(*) FROM t WHERE owner IS NOT NULL AND chosen IS NULL) AS by_hand,
    (SELECT count(*) FROM t WHERE owner IS NULL) AS unassigned,
    (SELECT count(*) FROM t WHERE called IS NOT NULL) AS answered,
    (SELECT count(*) FROM t WHERE called IS NULL AND open) AS unanswered,
    (SELECT count(*) FROM t WHERE called IS NULL AND NOT open) AS closed_unanswered,
    (SELECT min(created_at) FROM t WHERE called IS NULL AND open) AS oldest_unanswered_at,
    (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY minutes) FROM m) AS response_p50_minutes,
    (SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY minutes) FROM m) AS response_p95_minutes,
    (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY business_minutes) FROM m) AS response_p50_business_minutes,
    (SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY business_minutes) FROM m) AS response_p95_business_minutes,
    (
        SELECT jsonb_build_object('unanswered', jsonb_agg(id ORDER BY id)) FROM t WHERE called IS NULL AND open
    ) || (
        SELECT jsonb_build_object('held', jsonb_agg(id ORDER BY id)) FROM n WHERE status LIKE 'skipped%%'
    ) || (SELECT jsonb_build_object('broken', jsonb_agg(id ORDER BY id)) FROM b) AS ids,
    (SELECT jsonb_object_agg(owner, to_jsonb(o) - 'owner') FROM o) AS owners

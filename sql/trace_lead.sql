-- name: trace_lead/load_events
-- Find the leads that a text names (an event, a record, a ticket, a phone), and load all that is stored of them and what Diva has now.
-- Returns one row per event: the newest 20 leads, the one with the newest event first, and the newest 50 events of each, oldest first.
-- Relies on pk_pancake_webhook_event, uq_pancake_webhook_event_identity, ix_pancake_webhook_event_phone, _phone_digest, _ticket and _held,
-- account_normalized_phone_idx, uq_contact_book_primary_phone, Diva's unique index on ticket (code) and its index on ticket (account_id).
-- A body without a record id counts as one lead. `typed_bodies`: dead letters without a usable phone are found by what they contain.
WITH customer AS (
    SELECT a.id FROM public.account AS a WHERE a.normalized_phone = ANY (%(phones)s)
    UNION SELECT b.account_id FROM public.contact_book AS b WHERE b.primary_phone = ANY (%(phones)s)
), wanted_ticket AS (
    SELECT t.id FROM public.ticket AS t WHERE t.code = %(text)s
    UNION
    SELECT t.id FROM public.ticket AS t WHERE t.account_id = ANY (ARRAY(SELECT c.id FROM customer AS c))
), found AS (
    SELECT e.id FROM public.pancake_webhook_event AS e WHERE e.id = %(event_id)s
    UNION
    SELECT e.id FROM public.pancake_webhook_event AS e WHERE e.record_id = %(text)s
    UNION
    SELECT e.id FROM public.pancake_webhook_event AS e WHERE e.normalized_phone = ANY (%(phones)s)
    UNION
    SELECT e.id FROM public.pancake_webhook_event AS e
    WHERE e.evidence #>> '{phone,digests,primary}' = ANY (%(phone_digests)s) AND e.normalized_phone IS NULL
    UNION
    SELECT e.id FROM public.pancake_webhook_event AS e WHERE e.ticket_id = ANY (ARRAY(SELECT t.id FROM wanted_ticket AS t))
    UNION
    SELECT e.id FROM public.pancake_webhook_event AS e
    WHERE cardinality(%(typed_bodies)s::jsonb[]) > 0
        AND e.status = 'dead_letter' AND e.error_code = 'invalid_phone' AND e.payload @> ANY (%(typed_bodies)s::jsonb[])
), lead AS (
    SELECT
        e.connection_id, e.record_id, public.pancake_record_table(e.table_name) AS table_name,
        CASE WHEN e.record_id IS NULL THEN e.id END AS event_id,
        max(e.id) AS newest_id
    FROM found AS f
    JOIN public.pancake_webhook_event AS e ON e.id = f.id
    GROUP BY 1, 2, 3, 4
    ORDER BY newest_id DESC
    LIMIT 20
), chosen AS (
    SELECT l.newest_id, l.table_name, v.id
    FROM lead AS l
    CROSS JOIN LATERAL (
        SELECT e.id
        FROM public.pancake_webhook_event AS e
        WHERE
            e.record_id = l.record_id AND e.connection_id = l.connection_id
            AND public.pancake_record_table(e.table_name) = l.table_name
        UNION ALL
        SELECT l.event_id WHERE l.event_id IS NOT NULL
        ORDER BY id DESC
        LIMIT 50
    ) AS v
)
SELECT
    e.id, c.newest_id, c.table_name, n.name AS connection, n.status AS connection_status, e.record_id, e.origin, e.status, e.outcome, e.error_code,
    public.pancake_error_fault(e.error_code) AS fault, e.error_detail, e.attempts, e.next_attempt_at, e.arrived_at, e.created_at, e.received_at, e.ingested_at, e.processed_at, e.held_at,
    e.normalized_phone, CASE WHEN pg_column_size(e.payload) < 65536 THEN e.payload::text END AS body, e.payload IS NULL AS has_no_body,
    e.raw IS NOT NULL AS has_raw, e.evidence, e.notifications, e.notified_at, e.notify_attempts, e.notify_error, e.notify_next_at,
    e.notify_given_up_at, e.notify_sent, e.replay_count, e.replayed_by, e.replayed_at, e.assignee_id::text AS owner_id, e.ticket_id::text,
    ARRAY(SELECT coalesce(p.name, i.id) FROM unnest(e.source_ids) AS i (id) LEFT JOIN public.pancake_source AS p
        ON p.connection_id = e.connection_id AND p.pancake_source_id = i.id) AS sources,
    EXISTS (SELECT FROM public.pancake_active_source(e.connection_id, e.source_ids)) AS has_active_source,
    t.found AS ticket,
    (SELECT jsonb_build_object('name', a.display_name, 'is_enabled', a.phone_enabled, 'is_deleted', a.deleted_at IS NOT NULL)
        FROM public.account AS a WHERE a.id = e.account_id) AS account,
    (SELECT coalesce(jsonb_object_agg(s.id, s.full_name), '{}') FROM public.staff AS s
        WHERE position(s.id::text IN concat(e.evidence -> 'assignment', e.notifications, e.assignee_id, e.replayed_by, t.found)) > 0
    ) AS names,
    s.kill_switch, s.processing_paused, s.sla_minutes, %(language)s::text AS language
FROM chosen AS c
JOIN public.pancake_webhook_event AS e ON e.id = c.id
JOIN public.pancake_connection AS n ON n.id = e.connection_id
CROSS JOIN public.view_pancake_setting AS s
-- One row read by its key each, with any statistics.
LEFT JOIN LATERAL (
    SELECT jsonb_build_object('code', k.code, 'status', k.status, 'is_open', public.pancake_ticket_is_open(k.status),
        'owner_id', k.assignee_id, 'created_at', k.created_at, 'first_response_at', k.first_response_at,
        'business_minutes', public.pancake_business_minutes(
            k.created_at, coalesce(k.first_response_at, %(now)s), s.business_hours, s.holidays)) AS found
    FROM public.ticket AS k WHERE k.id = e.ticket_id OFFSET 0
) AS t ON true
ORDER BY c.newest_id DESC, e.id

-- Store a batch of deliveries. Token, switches and sources are read in the same statement, so a change takes effect at once.
-- Returns one row per delivery with a known token: ordinal, status ('duplicate' if nothing was stored), event_id, error_code.
-- Relies on uq_pancake_connection_token, uq_pancake_source, uq_pancake_webhook_event_identity (also for the conflict).
WITH delivery AS (
    SELECT
        d.ordinal, d.arrived_at, d.source_ip, d.record_id, d.error_code, d.error_detail, d.notes, d.source_ids, d.phone,
        c.id AS connection, t.table_name, COALESCE(d.modified_at, d.modified_local AT TIME ZONE c.record_timezone) AS modified_on,
        public.pancake_payload_hash(decode(d.payload_hash, 'hex'), c.id, t.table_name) AS payload_hash,
        d.payload::jsonb AS payload, decode(d.raw, 'hex') AS raw
    FROM json_to_recordset(%(deliveries)s::json) AS d (
        ordinal integer, connection_id uuid, token_sha256 text, arrived_at timestamptz, source_ip inet, record_id text,
        table_id text, modified_at timestamptz, modified_local timestamp, payload_hash text, payload text, raw text,
        phone text, source_ids text[], error_code text, error_detail text, notes text[]
    )
    JOIN public.pancake_connection AS c
        ON c.id = d.connection_id
        OR c.token_sha256 = decode(d.token_sha256, 'hex')
        OR (c.previous_token_sha256 = decode(d.token_sha256, 'hex') AND c.previous_token_expires_at > d.arrived_at)
    CROSS JOIN LATERAL (
        SELECT COALESCE(d.table_id, CASE WHEN cardinality(c.table_names) = 1 THEN c.table_names[1] END) AS table_name
    ) AS t
), new_source AS (
    INSERT INTO public.pancake_source (connection_id, pancake_source_id, first_seen_at)
    SELECT DISTINCT d.connection, s.id, %(now)s::timestamptz
    FROM delivery AS d
    CROSS JOIN LATERAL unnest(d.source_ids) AS s (id)
    WHERE NOT EXISTS (
        SELECT FROM public.pancake_source AS p WHERE p.connection_id = d.connection AND p.pancake_source_id = s.id)
    ORDER BY 1, 2
    ON CONFLICT DO NOTHING
    RETURNING connection_id, pancake_source_id
), gated AS (
    SELECT
        d.*,
        CASE
            WHEN d.error_code IS NOT NULL THEN 'dead_letter'
            WHEN (SELECT w.kill_switch FROM public.pancake_switch() AS w) THEN 'skipped_kill_switch'
            WHEN EXISTS (SELECT FROM public.pancake_active_source(d.connection, d.source_ids)) THEN 'received'
            ELSE 'skipped_source_disabled'
        END AS status,
        (
            SELECT jsonb_agg(jsonb_build_object(
                'name', 'source_new_' || n.pancake_source_id,
                'template_code', 'noti_pancake_needs_attention',
                'recipient_ids', (SELECT COALESCE(jsonb_agg(f.id), '[]') FROM public.staff AS f
                    WHERE f.role = public.pancake_staff_role('admin') AND f.is_active),
                'data', jsonb_build_object('reason', 'new_source', 'detail', n.pancake_source_id)
            ))
            FROM new_source AS n
            WHERE n.connection_id = d.connection AND n.pancake_source_id = ANY (d.source_ids)
                -- One notification per new source: on the first delivery of the batch that names it.
                AND d.ordinal = (SELECT min(o.ordinal) FROM delivery AS o
                    WHERE o.connection = n.connection_id AND n.pancake_source_id = ANY (o.source_ids))
        ) AS notifications
    FROM delivery AS d
), inserted AS (
    INSERT INTO public.pancake_webhook_event (
        connection_id, origin, record_id, table_name, modified_on, payload_hash, payload, raw, status,
        error_code, error_detail, arrived_at, normalized_phone, source_ids, source_ip, evidence, notifications, created_at
    )
    SELECT
        g.connection, %(origin)s, g.record_id, g.table_name, g.modified_on, g.payload_hash, g.payload, g.raw, g.status,
        g.error_code, g.error_detail, g.arrived_at, g.phone, g.source_ids, g.source_ip,
        CASE WHEN g.notes IS NULL THEN '{}' ELSE jsonb_build_object('notes', g.notes) END,
        COALESCE(g.notifications, '[]'), %(now)s
    FROM gated AS g
    ORDER BY g.record_id, g.modified_on, g.payload_hash, g.ordinal
    ON CONFLICT ON CONSTRAINT uq_pancake_webhook_event_identity DO NOTHING
    RETURNING id, record_id, modified_on, payload_hash, status
)
SELECT d.ordinal, COALESCE(i.status, 'duplicate') AS status, i.id AS event_id, d.error_code
FROM (
    SELECT *, row_number() OVER (PARTITION BY record_id, modified_on, payload_hash ORDER BY ordinal) = 1 AS is_first
    FROM delivery
) AS d
LEFT JOIN inserted AS i
    ON d.is_first
    AND i.payload_hash = d.payload_hash
    AND i.record_id IS NOT DISTINCT FROM d.record_id
    AND i.modified_on IS NOT DISTINCT FROM d.modified_on

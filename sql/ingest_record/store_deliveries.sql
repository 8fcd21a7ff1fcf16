-- Store a batch of deliveries. Token, switches and sources are read in the same statement, so a change takes effect at once.
-- Returns one row per delivery with a known token: ordinal, status ('duplicate' if nothing was stored), event_id, error_code, dropped.
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
), notice AS (
    -- One notification per new source, on the first delivery of the batch that names it; without an active admin none is stored.
    SELECT
        f.ordinal, array_agg(f.name ORDER BY f.name) AS names,
        jsonb_agg(jsonb_build_object(
            'name', f.name, 'template_code', 'noti_pancake_needs_attention', 'recipient_ids', f.admins,
            'data', jsonb_build_object('reason', 'new_source', 'detail', f.source_id)
        ) ORDER BY f.name) FILTER (WHERE f.admins IS NOT NULL) AS notifications
    FROM (
        SELECT
            min(d.ordinal) AS ordinal, n.pancake_source_id AS source_id, 'source_new_' || n.pancake_source_id AS name,
            (SELECT jsonb_agg(s.id) FROM public.staff AS s WHERE s.role = public.pancake_staff_role('admin') AND s.is_active) AS admins
        FROM new_source AS n
        JOIN delivery AS d ON d.connection = n.connection_id AND n.pancake_source_id = ANY (d.source_ids)
        GROUP BY n.connection_id, n.pancake_source_id
    ) AS f
    GROUP BY f.ordinal
), inserted AS (
    INSERT INTO public.pancake_webhook_event (
        connection_id, origin, record_id, table_name, modified_on, payload_hash, payload, raw, status,
        error_code, error_detail, arrived_at, normalized_phone, source_ids, source_ip, evidence, notifications, created_at
    )
    SELECT
        d.connection, %(origin)s, d.record_id, d.table_name, d.modified_on, d.payload_hash, d.payload, d.raw,
        CASE
            WHEN d.error_code IS NOT NULL THEN 'dead_letter'
            WHEN (SELECT w.kill_switch FROM public.pancake_switch() AS w) THEN 'skipped_kill_switch'
            WHEN EXISTS (SELECT FROM public.pancake_active_source(d.connection, d.source_ids)) THEN 'received'
            ELSE 'skipped_source_disabled'
        END,
        d.error_code, d.error_detail, d.arrived_at, d.phone, d.source_ids, d.source_ip,
        CASE WHEN d.notes IS NULL THEN '{}' ELSE jsonb_build_object('notes', d.notes) END,
        COALESCE((SELECT n.notifications FROM notice AS n WHERE n.ordinal = d.ordinal), '[]'), %(now)s
    FROM delivery AS d
    ORDER BY d.record_id, d.modified_on, d.payload_hash, d.ordinal
    ON CONFLICT ON CONSTRAINT uq_pancake_webhook_event_identity DO NOTHING
    RETURNING id, record_id, modified_on, payload_hash, status
)
SELECT d.ordinal, COALESCE(i.status, 'duplicate') AS status, i.id AS event_id, d.error_code,
    (SELECT n.names FROM notice AS n WHERE n.ordinal = d.ordinal AND n.notifications IS NULL) AS dropped
FROM (
    SELECT *, row_number() OVER (PARTITION BY record_id, modified_on, payload_hash ORDER BY ordinal) = 1 AS is_first
    FROM delivery
) AS d
LEFT JOIN inserted AS i
    ON d.is_first
    AND i.payload_hash = d.payload_hash
    AND (i.record_id, i.modified_on) IS NOT DISTINCT FROM (d.record_id, d.modified_on)

-- name: ingest_record/store_deliveries
-- Store a batch of deliveries. Token, switches and sources are read in the same statement, so a change takes effect at once.
-- Returns one row per delivery with a known token: ordinal, status ('duplicate' if nothing was stored), event_id, error_code.
-- Relies on uq_pancake_connection_token, uq_pancake_source, uq_pancake_webhook_event_identity (also for the conflict), ix_customer_erasure_digest.
WITH delivery AS (
    SELECT
        d.ordinal, d.arrived_at, d.source_ip, d.record_id, d.error_code, d.error_detail, d.notes, d.phone,
        CASE
            WHEN d.source_ids <> '{}' OR d.record_id IS NULL THEN d.source_ids
            -- A record that names no source has those of its last event. OFFSET 0 keeps the planner on the record's few rows.
            ELSE COALESCE((
                SELECT l.source_ids
                FROM (
                    SELECT e.id, e.source_ids
                    FROM public.pancake_webhook_event AS e
                    WHERE
                        e.record_id = d.record_id
                        AND e.connection_id = c.id
                        AND public.pancake_record_table(e.table_name) = public.pancake_record_table(t.table_name)
                        AND e.source_ids <> '{}'
                    OFFSET 0
                ) AS l
                ORDER BY l.id DESC
                LIMIT 1
            ), '{(none)}')
        END AS source_ids,
        d.erasure_digests, d.undated, c.id AS connection, t.table_name, %(origin)s <> 'webhook' OR c.signature_mode = 'enforce' AS is_proved,
        COALESCE(d.modified_at, d.modified_local AT TIME ZONE c.record_timezone) AS modified_on,
        public.pancake_payload_hash(decode(d.payload_hash, 'hex'), c.id, t.table_name) AS payload_hash,
        d.payload::jsonb AS payload, decode(d.raw, 'hex') AS raw
    FROM json_to_recordset(%(deliveries)s::json) AS d (
        ordinal integer, connection_id uuid, token_sha256 text, arrived_at timestamptz, source_ip inet, record_id text,
        table_id text, modified_at timestamptz, modified_local timestamp, payload_hash text, payload text, raw text,
        phone text, source_ids text[], error_code text, error_detail text, notes text[], erasure_digests text[], undated timestamptz
    )
    JOIN public.pancake_connection AS c
        ON c.id = d.connection_id
        OR c.token_sha256 = decode(d.token_sha256, 'hex')
        OR (c.previous_token_sha256 = decode(d.token_sha256, 'hex') AND c.previous_token_expires_at > d.arrived_at)
    CROSS JOIN LATERAL (
        SELECT COALESCE(d.table_id, CASE WHEN cardinality(c.table_names) = 1 THEN c.table_names[1] END) AS table_name
    ) AS t
), creatable AS (
    -- '(none)' cannot be invented: it needs neither a proof nor a place under the cap.
    SELECT r.connection, r.id
    FROM (
        SELECT
            d.connection, s.id, s.id = '(none)' AS is_none,
            row_number() OVER (PARTITION BY d.connection, s.id = '(none)' ORDER BY min(d.ordinal), s.id) AS place
        FROM delivery AS d
        CROSS JOIN LATERAL unnest(d.source_ids) AS s (id)
        WHERE (d.is_proved OR s.id = '(none)')
            AND NOT EXISTS (SELECT FROM public.pancake_source AS p WHERE p.connection_id = d.connection AND p.pancake_source_id = s.id)
        GROUP BY d.connection, s.id
    ) AS r
    WHERE r.is_none OR r.place <= %(max_new_sources)s
        AND r.place <= %(max_new_sources)s - (
            -- Only deliveries named a source that sync_sources has given no name yet.
            SELECT count(*)
            FROM public.pancake_source AS u
            WHERE
                u.connection_id = r.connection
                AND u.name IS NULL
                AND u.pancake_source_id <> '(none)'
                AND u.first_seen_at > %(now)s::timestamptz - interval '1 hour'
        )
), new_source AS (
    INSERT INTO public.pancake_source (connection_id, pancake_source_id, first_seen_at)
    SELECT c.connection, c.id, %(now)s::timestamptz FROM creatable AS c ORDER BY 1, 2
    ON CONFLICT DO NOTHING
), inserted AS (
    INSERT INTO public.pancake_webhook_event (
        connection_id, origin, record_id, table_name, modified_on, payload_hash, payload, raw, status,
        error_code, error_detail, arrived_at, normalized_phone, source_ids, source_ip, evidence, created_at
    )
    SELECT
        d.connection, %(origin)s, d.record_id, d.table_name, d.modified_on, d.payload_hash, k.payload, k.raw, n.status,
        n.error_code, k.error_detail, d.arrived_at, k.phone, d.source_ids, k.source_ip,
        jsonb_strip_nulls(jsonb_build_object('notes', d.notes, 'held_by', CASE
            WHEN n.status = 'skipped_source_disabled'
                AND NOT EXISTS (SELECT FROM creatable AS c WHERE c.connection = d.connection AND c.id = ANY (d.source_ids))
                AND NOT EXISTS (
                    SELECT FROM public.pancake_source AS p
                    WHERE p.connection_id = d.connection AND p.pancake_source_id = ANY (d.source_ids))
            THEN 'source_unknown'
        END)), %(now)s
    FROM delivery AS d
    -- The decision at arrival: a body that cannot be processed and a version of an erased customer are dead letters; then the kill
    -- switch, then the sources hold an event.
    CROSS JOIN LATERAL (
        SELECT c.code AS error_code, CASE WHEN c.code IS NOT NULL THEN 'dead_letter' ELSE COALESCE(h.status, 'received') END AS status
        FROM (
            SELECT CASE WHEN EXISTS (
                SELECT FROM public.pancake_erasure(
                    d.erasure_digests, d.connection, d.table_name, COALESCE(d.modified_on, d.undated)
                )
            ) THEN 'erased' ELSE d.error_code END AS code
        ) AS c
        CROSS JOIN LATERAL public.pancake_hold_reason(d.connection, d.source_ids) AS h
        OFFSET 0
    ) AS n
    -- Nothing personal of an erased customer.
    LEFT JOIN delivery AS k ON k.ordinal = d.ordinal AND n.error_code IS DISTINCT FROM 'erased'
    ORDER BY d.record_id, d.modified_on, d.payload_hash, d.ordinal
    ON CONFLICT ON CONSTRAINT uq_pancake_webhook_event_identity DO NOTHING
    RETURNING id, record_id, modified_on, payload_hash, status, error_code
)
SELECT d.ordinal, COALESCE(i.status, 'duplicate') AS status, i.id AS event_id, COALESCE(i.error_code, d.error_code) AS error_code
FROM (
    SELECT *, row_number() OVER (PARTITION BY record_id, modified_on, payload_hash ORDER BY ordinal) = 1 AS is_first
    FROM delivery
) AS d
LEFT JOIN inserted AS i
    ON d.is_first
    AND i.payload_hash = d.payload_hash
    AND (i.record_id, i.modified_on) IS NOT DISTINCT FROM (d.record_id, d.modified_on)

-- List the connections for an operator, with the ciphertexts, from which the caller reads the key ids.
-- Returns one row per connection, ordered by name. Relies on ix_pancake_webhook_event_created_at for the last 24 hours.
SELECT
    c.id::text AS id,
    c.name,
    c.workspace_id,
    c.table_names,
    c.api_base_url,
    c.record_timezone,
    c.status,
    c.status_changed_at,
    c.signature_mode,
    c.allowlist_mode,
    c.previous_token_expires_at,
    c.previous_webhook_secret_expires_at,
    c.previous_header_secret_expires_at,
    c.last_poll_at,
    c.poll_watermark,
    c.api_key_encrypted,
    c.webhook_secret_encrypted,
    c.previous_webhook_secret_encrypted,
    c.header_secret_encrypted,
    c.previous_header_secret_encrypted,
    e.last_webhook_at,
    coalesce(e.events_24h, 0) AS events_24h
FROM public.pancake_connection AS c
LEFT JOIN (
    SELECT
        w.connection_id,
        max(w.arrived_at) FILTER (WHERE w.origin = 'webhook') AS last_webhook_at,
        count(*) AS events_24h
    FROM public.pancake_webhook_event AS w
    WHERE w.created_at > %(now)s::timestamptz - interval '24 hours'
    GROUP BY w.connection_id
) AS e ON e.connection_id = c.id
ORDER BY c.name, c.id

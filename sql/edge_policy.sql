-- name: edge_policy/list_connections
-- List the connections for the edge: hashes of valid tokens, modes, allowlist and encrypted secrets.
-- Returns one row per connection, ordered by id. Reads the whole table, which has few rows.
SELECT
    c.id::text AS id,
    encode(c.token_sha256, 'hex') AS token_sha256,
    encode(c.previous_token_sha256, 'hex') AS previous_token_sha256,
    c.previous_token_expires_at,
    c.signature_mode,
    c.allowlist_mode,
    c.allowed_ip_ranges::text[] AS allowed_ip_ranges,
    c.webhook_secret_encrypted,
    c.previous_webhook_secret_encrypted,
    c.previous_webhook_secret_expires_at,
    c.header_secret_encrypted,
    c.previous_header_secret_encrypted,
    c.previous_header_secret_expires_at
FROM public.pancake_connection AS c
ORDER BY c.id

-- name: connection_secrets/insert_connection
-- Insert a connection; signatures are in mode monitor, with the header secret.
-- Returns one row: id; no row if the id, the token or the workspace already exists.
-- Relies on pk_pancake_connection, uq_pancake_connection_token, uq_pancake_connection_workspace.
INSERT INTO public.pancake_connection (
    id, name, workspace_id, table_names, api_base_url, record_timezone, api_key_encrypted, header_secret_encrypted,
    signature_mode, token_sha256
)
VALUES (
    %(id)s::uuid, %(name)s, %(workspace_id)s, %(table_names)s, %(api_base_url)s, %(record_timezone)s, %(api_key)s,
    %(header_secret)s, 'monitor', %(token_sha256)s
)
ON CONFLICT DO NOTHING
RETURNING id::text AS id

-- name: connection_secrets/set_token
-- Set a connection's token; the current one stays valid until expires_at.
-- Returns one row: id; no row if the connection does not exist. Relies on pk_pancake_connection.
UPDATE public.pancake_connection
SET
    previous_token_sha256 = token_sha256,
    previous_token_expires_at = %(expires_at)s,
    token_sha256 = %(token_sha256)s,
    updated_at = %(now)s
WHERE id = %(id)s::uuid
RETURNING id::text AS id

-- name: connection_secrets/store_secret
-- Store the ciphertext of a secret. The current webhook or header secret becomes the previous one and stays valid
-- until expires_at.
-- Returns one row: id; no row if the connection does not exist. Relies on pk_pancake_connection.
UPDATE public.pancake_connection
SET
    api_key_encrypted = CASE %(purpose)s WHEN 'api_key' THEN %(encrypted)s::bytea ELSE api_key_encrypted END,
    webhook_secret_encrypted =
        CASE %(purpose)s WHEN 'webhook_secret' THEN %(encrypted)s::bytea ELSE webhook_secret_encrypted END,
    previous_webhook_secret_encrypted =
        CASE %(purpose)s WHEN 'webhook_secret' THEN webhook_secret_encrypted ELSE previous_webhook_secret_encrypted END,
    header_secret_encrypted =
        CASE %(purpose)s WHEN 'header_secret' THEN %(encrypted)s::bytea ELSE header_secret_encrypted END,
    previous_header_secret_encrypted =
        CASE %(purpose)s WHEN 'header_secret' THEN header_secret_encrypted ELSE previous_header_secret_encrypted END,
    previous_webhook_secret_expires_at = CASE
        WHEN %(purpose)s <> 'webhook_secret' THEN previous_webhook_secret_expires_at
        WHEN webhook_secret_encrypted IS NOT NULL THEN %(expires_at)s::timestamptz
    END,
    previous_header_secret_expires_at = CASE
        WHEN %(purpose)s <> 'header_secret' THEN previous_header_secret_expires_at
        WHEN header_secret_encrypted IS NOT NULL THEN %(expires_at)s::timestamptz
    END,
    updated_at = %(now)s
WHERE id = %(id)s::uuid
RETURNING id::text AS id

-- name: connection_secrets/clear_previous
-- End the validity of the previous token, webhook secret or header secret after a rotation.
-- Returns one row: id; no row if the connection does not exist. Relies on pk_pancake_connection.
UPDATE public.pancake_connection
SET
    previous_token_sha256 = CASE %(purpose)s WHEN 'token' THEN NULL ELSE previous_token_sha256 END,
    previous_token_expires_at = CASE %(purpose)s WHEN 'token' THEN NULL ELSE previous_token_expires_at END,
    previous_webhook_secret_encrypted =
        CASE %(purpose)s WHEN 'webhook_secret' THEN NULL ELSE previous_webhook_secret_encrypted END,
    previous_header_secret_encrypted =
        CASE %(purpose)s WHEN 'header_secret' THEN NULL ELSE previous_header_secret_encrypted END,
    previous_webhook_secret_expires_at =
        CASE %(purpose)s WHEN 'webhook_secret' THEN NULL ELSE previous_webhook_secret_expires_at END,
    previous_header_secret_expires_at =
        CASE %(purpose)s WHEN 'header_secret' THEN NULL ELSE previous_header_secret_expires_at END,
    updated_at = %(now)s
WHERE id = %(id)s::uuid
RETURNING id::text AS id

-- name: connection_secrets/set_time_zone
-- Set the time zone in which a connection's times without a zone are read. Moves the poll watermark back one day, because
-- the times of recent records may now be earlier.
-- Returns one row: id; no row if the connection does not exist. Relies on pk_pancake_connection.
UPDATE public.pancake_connection
SET
    record_timezone = %(zone)s,
    poll_watermark = poll_watermark - interval '1 day',
    updated_at = %(now)s
WHERE id = %(id)s::uuid
RETURNING id::text AS id

-- name: connection_secrets/set_status
-- Disable a connection, or make it active again. Nothing changes if it is disabled already, or is to be enabled and not disabled.
-- The history of changes takes its reason from the transaction.
-- Returns one row: before (its status), is_changed; no row if the connection does not exist. Relies on pk_pancake_connection.
WITH connection AS (
    SELECT c.id, c.name, c.status, set_config('integration.change_reason', coalesce(%(reason)s::text, ''), true) AS reason
    FROM public.pancake_connection AS c
    WHERE c.id = %(id)s::uuid
    FOR NO KEY UPDATE
), changed AS (
    UPDATE public.pancake_connection AS c
    SET status = %(after)s, status_changed_at = %(now)s, updated_at = %(now)s
    FROM connection AS b
    WHERE c.id = b.id AND (b.status = 'disabled') <> (%(after)s = 'disabled')
    RETURNING c.id
)
SELECT b.status AS before, EXISTS (SELECT FROM changed) AS is_changed FROM connection AS b

-- name: connection_secrets/list_connections
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

-- name: connection_secrets/list_erasure_keys
-- List the ids of the keys that erasures name: without them erased customers could come back.
-- Returns key_id. Relies on ix_customer_erasure_digest.
SELECT DISTINCT split_part(c.digest, ':', 1) AS key_id
FROM public.customer_erasure AS c
ORDER BY key_id

-- name: connection_secrets/lock_ciphertexts
-- Load and lock the ciphertexts of the next connections by id.
-- Returns up to limit rows: id, base URL and five ciphertexts. Relies on pk_pancake_connection.
SELECT
    c.id::text AS id,
    c.api_base_url,
    c.api_key_encrypted,
    c.webhook_secret_encrypted,
    c.previous_webhook_secret_encrypted,
    c.header_secret_encrypted,
    c.previous_header_secret_encrypted
FROM public.pancake_connection AS c
WHERE c.id > %(after)s::uuid
ORDER BY c.id
LIMIT %(limit)s
FOR NO KEY UPDATE

-- name: connection_secrets/store_ciphertexts
-- Store the ciphertexts of one connection after they were sealed again. Returns nothing. Relies on pk_pancake_connection.
UPDATE public.pancake_connection
SET
    api_key_encrypted = %(api_key_encrypted)s,
    webhook_secret_encrypted = %(webhook_secret_encrypted)s,
    previous_webhook_secret_encrypted = %(previous_webhook_secret_encrypted)s,
    header_secret_encrypted = %(header_secret_encrypted)s,
    previous_header_secret_encrypted = %(previous_header_secret_encrypted)s
WHERE id = %(id)s::uuid

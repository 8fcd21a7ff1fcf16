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

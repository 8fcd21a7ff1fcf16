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

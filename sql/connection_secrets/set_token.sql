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

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

-- Store the ciphertexts of one connection after they were sealed again. Returns nothing. Relies on pk_pancake_connection.
UPDATE public.pancake_connection
SET
    api_key_encrypted = %(api_key_encrypted)s,
    webhook_secret_encrypted = %(webhook_secret_encrypted)s,
    previous_webhook_secret_encrypted = %(previous_webhook_secret_encrypted)s,
    header_secret_encrypted = %(header_secret_encrypted)s,
    previous_header_secret_encrypted = %(previous_header_secret_encrypted)s
WHERE id = %(id)s::uuid

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

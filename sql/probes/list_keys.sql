-- List the sealed API keys of the connections that are in use.
-- Returns one row per connection: id, workspace_id, api_base_url, api_key_encrypted (may be null). Reads the whole table.
SELECT c.id::text AS id, c.workspace_id, c.api_base_url, c.api_key_encrypted
FROM public.pancake_connection AS c
WHERE c.status <> 'disabled'
ORDER BY c.id

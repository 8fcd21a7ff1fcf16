-- name: connections/load_connections
-- Load the connections that are not disabled, with everything that a call to Pancake needs.
-- Returns one row per connection, ordered by id. Reads the whole table, which has few rows.
SELECT
    c.id::text AS id, c.name, c.workspace_id, c.table_names, c.api_base_url, c.record_timezone,
    c.api_key_encrypted, c.status, c.poll_watermark
FROM public.pancake_connection AS c
WHERE c.status <> 'disabled'
ORDER BY c.id

-- The connections that are in use, with what is needed to call Pancake for them.
-- Returns one row each, in a fixed order. A small table.
SELECT
    c.id::text AS id, c.name, c.workspace_id, c.table_names, c.api_base_url, c.record_timezone,
    c.api_key_encrypted, c.status, c.poll_watermark
FROM public.pancake_connection AS c
WHERE c.status <> 'disabled'
ORDER BY c.id

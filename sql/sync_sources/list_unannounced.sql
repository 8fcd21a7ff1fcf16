-- List the new sources of which the admins were not notified, with or without a name.
-- Returns id, connection_id, source_id (Pancake's) and name (null while it has none), ordered by connection and source. Reads the whole table, which has few rows.
SELECT s.id::text AS id, s.connection_id::text AS connection_id, s.pancake_source_id AS source_id, s.name
FROM public.pancake_source AS s
WHERE s.announced_at IS NULL
ORDER BY s.connection_id, s.pancake_source_id

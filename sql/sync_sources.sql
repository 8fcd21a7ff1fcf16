-- name: sync_sources/list_unannounced
-- List the new sources of which the admins were not notified, with or without a name.
-- Returns id, connection_id, source_id (Pancake's) and name (null while it has none), ordered by connection and source. Reads the whole table, which has few rows.
SELECT s.id::text AS id, s.connection_id::text AS connection_id, s.pancake_source_id AS source_id, s.name
FROM public.pancake_source AS s
WHERE s.announced_at IS NULL
ORDER BY s.connection_id, s.pancake_source_id

-- name: sync_sources/mark_announced
-- Mark sources as announced to the admins, in the transaction that stores the notification.
-- Returns no rows. Relies on pk_pancake_source.
UPDATE public.pancake_source AS s
SET announced_at = %(now)s
WHERE s.id = ANY (%(ids)s::uuid[]) AND s.announced_at IS NULL

-- name: sync_sources/store_sources
-- Store the sources of a workspace: insert new ones as inactive, update known ones, mark unlisted ones as removed.
-- Returns source_id and change (new, removed or restored) of each that changed. Relies on uq_pancake_source.
WITH listed AS (
    SELECT l.id, l.name, l.parent, l.removed
    FROM unnest(%(ids)s::text[], %(names)s::text[], %(parents)s::text[], %(removed)s::boolean[]) AS l (id, name, parent, removed)
), before AS (
    SELECT s.pancake_source_id, s.is_removed FROM public.pancake_source AS s WHERE s.connection_id = %(connection_id)s
), stored AS (
    INSERT INTO public.pancake_source AS s (connection_id, pancake_source_id, name, parent_source_id, is_removed, first_seen_at, synced_at)
    SELECT %(connection_id)s, l.id, l.name, l.parent, l.removed, %(now)s, %(now)s
    FROM listed AS l
    ORDER BY l.id
    ON CONFLICT ON CONSTRAINT uq_pancake_source DO UPDATE
    SET name = coalesce(excluded.name, s.name), parent_source_id = excluded.parent_source_id, is_removed = excluded.is_removed, synced_at = %(now)s
    RETURNING s.pancake_source_id, s.is_removed
), gone AS (
    UPDATE public.pancake_source AS s
    SET is_removed = true, synced_at = %(now)s
    WHERE
        s.connection_id = %(connection_id)s
        AND s.pancake_source_id <> '(none)'
        AND NOT s.is_removed
        -- An empty list is more likely an API key without permission than a workspace without sources.
        AND cardinality(%(ids)s::text[]) > 0
        AND NOT s.pancake_source_id = ANY (%(ids)s::text[])
    RETURNING s.pancake_source_id
)
SELECT
    n.pancake_source_id AS source_id,
    CASE WHEN b.pancake_source_id IS NULL THEN 'new' WHEN n.is_removed THEN 'removed' ELSE 'restored' END AS change
FROM stored AS n
LEFT JOIN before AS b USING (pancake_source_id)
WHERE b.pancake_source_id IS NULL OR b.is_removed <> n.is_removed
UNION ALL
SELECT g.pancake_source_id, 'removed' FROM gone AS g
ORDER BY source_id

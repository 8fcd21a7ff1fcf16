-- List what people can switch off, and of what is off who did it last and when, as the history has it.
-- Returns name, kind (setting or connection), stops (whether it keeps leads from being processed now), changed_at, changed_by,
-- hasura_role; the last three are null if it does not stop, or the history has no change. Reads back from the newest change.
WITH switch AS (
    SELECT w.name, 'setting' AS kind, 'all' AS row_id, w.name AS changed, w.stops
    FROM public.pancake_switch() AS s
    CROSS JOIN LATERAL (VALUES ('kill_switch', s.kill_switch), ('processing_paused', s.processing_paused)) AS w (name, stops)
    UNION ALL
    SELECT c.name, 'connection' AS kind, c.id::text AS row_id, 'status' AS changed, c.status = 'disabled' AS stops
    FROM public.pancake_connection AS c
)
SELECT s.name, s.kind, s.stops, h.changed_at, h.changed_by, h.hasura_role
FROM switch AS s
LEFT JOIN LATERAL (
    SELECT i.changed_at, coalesce(p.full_name, i.changed_by) AS changed_by, i.hasura_role
    FROM public.integration_change AS i
    LEFT JOIN public.staff AS p ON p.id::text = i.changed_by
    WHERE i.kind = s.kind AND i.row_id = s.row_id AND i.after ? s.changed
    ORDER BY i.id DESC
    LIMIT 1
) AS h ON s.stops
ORDER BY s.kind DESC, s.name

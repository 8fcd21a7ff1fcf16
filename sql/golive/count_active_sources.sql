-- Count the sources that were active at the end of the window: as they are now, unless a later change shows what was before it.
-- Returns one row: value. Reads the sources, which are few. Relies on ix_integration_change_row.
SELECT count(*) FILTER (WHERE COALESCE(c.was_active, s.is_active)) AS value
FROM public.pancake_source AS s
LEFT JOIN LATERAL (
    SELECT COALESCE((h.before ->> 'is_active')::boolean, false) AS was_active
    FROM public.integration_change AS h
    WHERE
        h.kind = 'source'
        AND h.row_id = s.id::text
        AND h.changed_at >= %(to)s
        AND (h.action = 'insert' OR h.before ? 'is_active')
    ORDER BY h.id
    LIMIT 1
) AS c ON true
WHERE NOT s.is_removed

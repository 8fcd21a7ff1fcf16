-- List the rosters that active sources use, with their members.
-- Returns one row per roster: source (null = the default roster), members (active in it), available (also active staff on duty).
-- Reads whole tables, which have few rows.
WITH active AS (
    SELECT
        s.id,
        s.name,
        EXISTS (SELECT FROM public.pancake_assignee AS a WHERE a.source_id = s.id AND a.is_active) AS has_roster
    FROM public.pancake_source AS s
    JOIN public.pancake_connection AS c ON c.id = s.connection_id
    WHERE s.is_active AND c.status <> 'disabled'
), roster AS (
    SELECT v.id, coalesce(v.name, '(none)') AS source FROM active AS v WHERE v.has_roster
    UNION ALL
    SELECT NULL AS id, NULL AS source WHERE EXISTS (SELECT FROM active AS v WHERE NOT v.has_roster)
)
SELECT
    r.source,
    count(a.id) AS members,
    count(a.id) FILTER (WHERE p.is_active AND p.on_duty) AS available
FROM roster AS r
LEFT JOIN public.pancake_assignee AS a ON (a.source_id = r.id OR (r.id IS NULL AND a.source_id IS NULL)) AND a.is_active
LEFT JOIN public.staff AS p ON p.id = a.staff_id
GROUP BY r.id, r.source
ORDER BY r.source NULLS FIRST

-- List events whose ticket has no owner and can get one now, because its roster has an available member; oldest ticket first.
-- None while the kill switch is on or processing is paused. What is available is decided again by leads/domain/assign.py, under
-- the roster's lock: without this filter, tickets of a roster without members would hide all newer ones of other rosters.
-- Returns id and roster_source_id (null = the default roster). Relies on ix_pancake_webhook_event_unassigned and the primary key
-- of Diva's ticket table.
WITH unassigned AS MATERIALIZED (
    SELECT e.id, e.connection_id, e.source_ids, t.created_at
    FROM public.pancake_webhook_event AS e
    -- OFFSET 0 keeps the planner from merging the subquery: tickets are read by key, never the whole table.
    CROSS JOIN LATERAL (
        SELECT k.assignee_id, k.status, k.created_at FROM public.ticket AS k WHERE k.id = e.ticket_id OFFSET 0
    ) AS t
    WHERE
        public.pancake_event_is_unassigned(e.outcome, e.assignee_id, e.evidence)
        AND t.assignee_id IS NULL
        AND t.status IN ('new', 'in_progress')
        AND NOT EXISTS (SELECT FROM public.pancake_switch() AS w WHERE w.kill_switch OR w.processing_paused)
), roster AS (
    SELECT g.connection_id, g.source_ids, r.id
    FROM (SELECT DISTINCT u.connection_id, u.source_ids FROM unassigned AS u) AS g
    LEFT JOIN LATERAL public.pancake_roster_source(g.connection_id, g.source_ids) AS r ON true
    WHERE EXISTS (
        SELECT FROM public.pancake_assignee AS a
        JOIN public.staff AS s ON s.id = a.staff_id
        WHERE (a.source_id = r.id OR (r.id IS NULL AND a.source_id IS NULL)) AND a.is_active AND s.is_active AND s.on_duty
            AND CASE WHEN a.shift <> 'always' OR a.daily_cap IS NOT NULL OR a.open_cap IS NOT NULL
                THEN public.pancake_member_limit(a, %(now)s) END IS NULL
    )
)
SELECT u.id, r.id::text AS roster_source_id
FROM unassigned AS u
JOIN roster AS r ON r.connection_id = u.connection_id AND r.source_ids = u.source_ids
ORDER BY u.created_at, u.id
LIMIT %(limit)s

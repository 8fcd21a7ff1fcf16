-- Count the open tickets that our events created without an owner and that still have none: at most `most`, all if it is null.
-- Returns one row: tickets, oldest_at (null without tickets).
-- Relies on ix_pancake_webhook_event_unassigned and the primary key of Diva's ticket table.
SELECT count(*) AS tickets, min(u.created_at) AS oldest_at
FROM (
    SELECT t.created_at
    FROM public.pancake_webhook_event AS e
    -- OFFSET 0 keeps the planner from merging the subquery: tickets are read by key, never the whole table.
    CROSS JOIN LATERAL (
        SELECT k.assignee_id, k.status, k.created_at FROM public.ticket AS k WHERE k.id = e.ticket_id OFFSET 0
    ) AS t
    WHERE
        public.pancake_event_is_unassigned(e.outcome, e.assignee_id, e.evidence)
        AND t.assignee_id IS NULL
        AND t.status IN ('new', 'in_progress')
    LIMIT %(most)s
) AS u

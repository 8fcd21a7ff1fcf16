-- Mark events whose ticket we need not assign any more, with the reason: it has an owner from Diva, is closed, or was deleted.
-- Events processed within the last minute are left out: their ticket may be younger than this statement's snapshot.
-- Returns id. Relies on ix_pancake_webhook_event_unassigned and the primary key of Diva's ticket table.
WITH found AS (
    SELECT
        e.id,
        CASE
            WHEN t.id IS NULL THEN 'ticket_deleted'
            WHEN t.assignee_id IS NULL THEN 'ticket_closed'
            ELSE 'assigned_in_diva'
        END AS reason
    FROM public.pancake_webhook_event AS e
    -- OFFSET 0 keeps the planner from merging the subquery: tickets are read by key, never the whole table.
    LEFT JOIN LATERAL (
        SELECT k.id, k.assignee_id, k.status FROM public.ticket AS k WHERE k.id = e.ticket_id OFFSET 0
    ) AS t ON true
    WHERE
        public.pancake_event_is_unassigned(e.outcome, e.assignee_id, e.evidence)
        AND e.processed_at < %(now)s::timestamptz - interval '1 minute'
        AND (t.id IS NULL OR t.assignee_id IS NOT NULL OR t.status NOT IN ('new', 'in_progress'))
    ORDER BY e.id
    LIMIT %(limit)s
    FOR NO KEY UPDATE OF e SKIP LOCKED
)
UPDATE public.pancake_webhook_event AS e
SET evidence = e.evidence || jsonb_build_object('assignment', COALESCE(e.evidence -> 'assignment', '{}') || jsonb_build_object(
    'settled', jsonb_build_object('at', %(now)s::timestamptz, 'reason', f.reason)
))
FROM found AS f
WHERE e.id = f.id
RETURNING e.id

-- KPI manager intervention: share of tickets whose owner is no longer the chosen one, of tickets created in the window.
-- Returns one row: tickets, changed, ratio (null without tickets).
-- Relies on ix_pancake_webhook_event_created_at and the primary key of Diva's ticket table.
WITH made AS (
    SELECT t.assignee_id::text IS DISTINCT FROM e.evidence -> 'assignment' ->> 'chosen' AS changed
    FROM public.pancake_webhook_event AS e
    JOIN public.ticket AS t ON t.id = e.ticket_id
    WHERE e.created_at >= %(from)s AND e.created_at < %(to)s AND e.outcome = 'ticket_created'
)
SELECT
    count(*) AS tickets,
    count(*) FILTER (WHERE m.changed) AS changed,
    count(*) FILTER (WHERE m.changed)::float / nullif(count(*), 0) AS ratio
FROM made AS m

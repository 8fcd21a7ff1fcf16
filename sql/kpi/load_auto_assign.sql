-- KPI auto-assign: share of tickets that still have the owner chosen by the integration, of tickets created in the window. An owner
-- whom retry_failed chose later counts as chosen.
-- Returns one row: tickets, correct, unassigned (no owner was chosen up to now), ratio (null without tickets).
-- Relies on ix_pancake_webhook_event_created_at and the primary key of Diva's ticket table.
WITH made AS (
    SELECT t.id, t.assignee_id::text AS owner, e.evidence -> 'assignment' ->> 'chosen' AS chosen
    FROM public.pancake_webhook_event AS e
    JOIN public.ticket AS t ON t.id = e.ticket_id
    WHERE e.created_at >= %(from)s AND e.created_at < %(to)s AND e.outcome = 'ticket_created'
)
SELECT
    count(*) AS tickets,
    count(*) FILTER (WHERE m.chosen = m.owner) AS correct,
    count(*) FILTER (WHERE m.chosen IS NULL) AS unassigned,
    count(*) FILTER (WHERE m.chosen = m.owner)::float / nullif(count(*), 0) AS ratio
FROM made AS m

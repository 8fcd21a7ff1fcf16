-- name: kpi/load_intervention
-- KPI manager intervention: share of tickets whose owner is no longer the chosen one, of tickets created in the window.
-- Returns one row: tickets, changed, ratio (null without tickets).
-- Relies on ix_pancake_webhook_event_created_at and the primary key of Diva's ticket table.
SELECT
    count(*) AS tickets,
    count(*) FILTER (WHERE t.is_changed) AS changed,
    count(*) FILTER (WHERE t.is_changed)::float / nullif(count(*), 0) AS ratio
FROM public.pancake_created_ticket(%(from)s, %(to)s) AS t

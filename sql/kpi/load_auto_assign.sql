-- name: kpi/load_auto_assign
-- KPI auto-assign: share of tickets that still have the owner chosen by the integration, of tickets created in the window. An owner
-- whom retry_failed chose later counts as chosen.
-- Returns one row: tickets, correct, unassigned (no owner was chosen up to now), ratio (null without tickets).
-- Relies on ix_pancake_webhook_event_created_at and the primary key of Diva's ticket table.
SELECT
    count(*) AS tickets,
    count(*) FILTER (WHERE t.is_correct) AS correct,
    count(*) FILTER (WHERE t.chosen IS NULL) AS unassigned,
    count(*) FILTER (WHERE t.is_correct)::float / nullif(count(*), 0) AS ratio
FROM public.pancake_created_ticket(%(from)s, %(to)s) AS t

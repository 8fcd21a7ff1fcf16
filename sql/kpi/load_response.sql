-- KPI SLA: minutes from a ticket's creation to its first response, of tickets created in the window. An unanswered ticket
-- counts with its age at the end of the window, a ticket closed without a response too.
-- Returns one row: tickets, unanswered, p95_minutes.
-- Relies on ix_pancake_webhook_event_created_at and the primary key of Diva's ticket table.
WITH made AS (
    SELECT
        t.first_response_at IS NULL AS unanswered,
        extract(epoch FROM coalesce(t.first_response_at, greatest(%(to)s::timestamptz, t.created_at)) - t.created_at)::float / 60 AS minutes
    FROM public.pancake_webhook_event AS e
    JOIN public.ticket AS t ON t.id = e.ticket_id
    WHERE e.created_at >= %(from)s AND e.created_at < %(to)s AND e.outcome = 'ticket_created'
)
SELECT
    count(*) AS tickets,
    count(*) FILTER (WHERE m.unanswered) AS unanswered,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY m.minutes) AS p95_minutes
FROM made AS m

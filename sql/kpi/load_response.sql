-- KPI SLA: minutes from a ticket's creation to its first response, for deliveries of the window; unanswered ones at their age at the window's end.
-- Returns one row: tickets, unanswered, p95_minutes. A ticket closed without a response counts as unanswered.
-- Relies on ix_pancake_webhook_event_created_at and Diva's primary key of ticket.
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

-- First response times of our tickets of the last 24 hours; an unanswered one counts with its present age.
-- Returns one row: tickets, unanswered, p95_minutes. Relies on ix_pancake_webhook_event_created_at and Diva's primary key of ticket.
SELECT
    count(*) AS tickets,
    count(*) FILTER (WHERE t.first_response_at IS NULL) AS unanswered,
    round((percentile_cont(0.95) WITHIN GROUP (
        ORDER BY extract(epoch FROM coalesce(t.first_response_at, %(now)s) - t.created_at) / 60
    ))::numeric, 1)::float AS p95_minutes
FROM (
    SELECT DISTINCT e.ticket_id
    FROM public.pancake_webhook_event AS e
    WHERE e.created_at > %(now)s::timestamptz - interval '24 hours' AND e.outcome = 'ticket_created'
) AS made
-- OFFSET 0: ticket by ticket through its key, never the whole table.
CROSS JOIN LATERAL (
    SELECT k.created_at, k.first_response_at FROM public.ticket AS k WHERE k.id = made.ticket_id OFFSET 0
) AS t

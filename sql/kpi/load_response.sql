-- name: kpi/load_response
-- KPI SLA: minutes from a ticket's creation to its first response, of tickets created in the window, by the clock and by business
-- hours. An unanswered ticket counts with its age at the end of the window, a ticket closed without a response too.
-- Returns one row: tickets, unanswered, p50_minutes, p95_minutes, p50_business_minutes, p95_business_minutes.
-- Relies on ix_pancake_webhook_event_created_at and the primary key of Diva's ticket table.
SELECT
    count(*) AS tickets,
    count(*) FILTER (WHERE t.is_unanswered) AS unanswered,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY t.minutes) AS p50_minutes,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY t.minutes) AS p95_minutes,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY t.business_minutes) AS p50_business_minutes,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY t.business_minutes) AS p95_business_minutes
FROM public.pancake_created_ticket(%(from)s, %(to)s) AS t

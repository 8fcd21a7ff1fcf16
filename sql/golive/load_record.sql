-- Load the state of the newest event of a record, with its ticket.
-- Returns one row, or none: event_id, status, outcome, error_code, ticket, ticket_id, owner, seconds (from arrival to processed).
-- Relies on uq_pancake_webhook_event_identity.
SELECT
    e.id AS event_id, e.status, e.outcome, e.error_code, t.code AS ticket, t.id AS ticket_id, s.full_name AS owner,
    extract(epoch FROM e.processed_at - e.arrived_at)::float8 AS seconds
FROM public.pancake_webhook_event AS e
LEFT JOIN public.ticket AS t ON t.id = e.ticket_id
LEFT JOIN public.staff AS s ON s.id = t.assignee_id
WHERE e.record_id = %(record_id)s
ORDER BY e.id DESC
LIMIT 1

-- Load what replayed events became. The outcome of a row is that of the last processing that changed something; the result in
-- its evidence is that of the last one.
-- Returns one row per event, lowest id first: id, status, result, error_code, ticket_id, owner_id, owner_name.
-- Relies on pk_pancake_webhook_event and the primary key of Diva's staff table.
SELECT
    e.id,
    e.status,
    COALESCE(e.evidence ->> 'result', e.outcome) AS result,
    e.error_code,
    e.ticket_id::text AS ticket_id,
    e.assignee_id::text AS owner_id,
    s.full_name AS owner_name
FROM public.pancake_webhook_event AS e
LEFT JOIN public.staff AS s ON s.id = e.assignee_id
WHERE e.id = ANY (%(ids)s)
ORDER BY e.id

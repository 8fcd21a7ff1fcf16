-- Load the results of replayed events. The outcome of a row is that of the last processing that changed something; the result in
-- its evidence is that of the last one.
-- Returns one row per event, lowest id first: id, status, result, error_code, held_by, ticket_id, owner_id.
-- Relies on pk_pancake_webhook_event.
SELECT
    e.id,
    e.status,
    COALESCE(e.evidence ->> 'result', e.outcome) AS result,
    e.error_code,
    e.evidence ->> 'held_by' AS held_by,
    e.ticket_id::text AS ticket_id,
    e.assignee_id::text AS owner_id
FROM public.pancake_webhook_event AS e
WHERE e.id = ANY (%(ids)s)
ORDER BY e.id

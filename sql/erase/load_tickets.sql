-- Lock and load the tickets that a customer's events name.
-- Returns id, code, title, description, fields (null if emptied before), is_shared: an event of another record names it too.
-- Relies on ticket's primary key, ix_pancake_webhook_event_ticket.
SELECT
    t.id::text AS id, t.code, t.title, t.description, t.data -> 'pancake' AS fields,
    EXISTS (SELECT FROM public.pancake_webhook_event AS e WHERE e.ticket_id = t.id AND e.id <> ALL (%(ids)s)) AS is_shared
FROM public.ticket AS t
WHERE t.id = ANY (%(ticket_ids)s)
ORDER BY t.id
FOR NO KEY UPDATE OF t

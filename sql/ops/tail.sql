-- name: tail/list_events
-- List the events with a higher id than `after`, and those that are awaited, the oldest first: at most `most`.
-- Returns id, created_at, origin, status, outcome, error_code, next_attempt_at, processed_at, source (name of the lead's first one),
-- ticket (code) and owner; nothing of the customer. Relies on pk_pancake_webhook_event and the keys of Diva's ticket and staff.
SELECT
    e.id,
    e.created_at,
    e.origin,
    e.status,
    e.outcome,
    e.error_code,
    e.next_attempt_at,
    e.processed_at,
    (
        SELECT coalesce(s.name, s.pancake_source_id)
        FROM public.pancake_source AS s
        WHERE s.connection_id = e.connection_id AND s.pancake_source_id = e.source_ids[1]
    ) AS source,
    (SELECT t.code FROM public.ticket AS t WHERE t.id = e.ticket_id) AS ticket,
    (SELECT p.full_name FROM public.staff AS p WHERE p.id = e.assignee_id) AS owner
FROM public.pancake_webhook_event AS e
WHERE e.id IN (
    (SELECT n.id FROM public.pancake_webhook_event AS n WHERE n.id > %(after)s ORDER BY n.id LIMIT %(most)s)
    UNION ALL
    SELECT w.id FROM unnest(%(awaited)s::bigint[]) AS w (id)
)
ORDER BY e.id

-- name: tail/find_start
-- Find the event after which the `newest` events come.
-- Returns one row: id; 0 if there are not more. Relies on pk_pancake_webhook_event.
SELECT coalesce(
    (SELECT e.id FROM public.pancake_webhook_event AS e ORDER BY e.id DESC OFFSET %(newest)s LIMIT 1), 0
) AS id

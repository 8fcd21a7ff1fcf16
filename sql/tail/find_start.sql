-- Find the event after which the `newest` events come.
-- Returns one row: id; 0 if there are not more. Relies on pk_pancake_webhook_event.
SELECT coalesce(
    (SELECT e.id FROM public.pancake_webhook_event AS e ORDER BY e.id DESC OFFSET %(newest)s LIMIT 1), 0
) AS id

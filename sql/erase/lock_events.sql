-- Lock the events of a customer, in the order of their ids.
-- Returns id of each. Relies on pk_pancake_webhook_event.
SELECT e.id FROM public.pancake_webhook_event AS e WHERE e.id = ANY (%(ids)s) ORDER BY e.id FOR UPDATE

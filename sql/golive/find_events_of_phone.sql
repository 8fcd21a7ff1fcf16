-- Find the events of a phone, as processing and the screens do; it is explained, not run.
-- Returns id. Relies on ix_pancake_webhook_event_phone.
SELECT e.id FROM public.pancake_webhook_event AS e WHERE e.normalized_phone = %(phone)s

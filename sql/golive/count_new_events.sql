-- Count the events that were stored since a time.
-- Returns one row: value. Relies on ix_pancake_webhook_event_created_at.
SELECT count(*) AS value FROM public.pancake_webhook_event AS e WHERE e.created_at >= %(from)s

-- Count the events that a person replayed in the window and that are processed now.
-- Returns one row: value. Relies on ix_pancake_webhook_event_replayed.
SELECT count(*) AS value
FROM public.pancake_webhook_event AS e
WHERE e.replayed_at >= %(from)s AND e.replayed_at < %(to)s AND e.status = 'processed'

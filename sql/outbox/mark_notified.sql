-- Note that the notifications of these events were accepted.
-- Returns nothing. Relies on pk_pancake_webhook_event.
UPDATE public.pancake_webhook_event
SET notified_at = %(now)s
WHERE id = ANY (%(ids)s) AND notified_at IS NULL

-- Hold a claimed event whose switch was turned off after the claim.
-- Returns nothing. Relies on pk_pancake_webhook_event.
UPDATE public.pancake_webhook_event SET status = %(status)s WHERE id = %(id)s

-- Hold a claimed event: after the claim the kill switch was turned on, or its sources were switched off.
-- Returns nothing. Relies on pk_pancake_webhook_event.
UPDATE public.pancake_webhook_event SET status = %(status)s WHERE id = %(id)s

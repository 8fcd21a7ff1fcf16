-- Erase events: nothing of the person stays in them, and their versions count as never applied.
-- Returns one row: erased. Relies on pk_pancake_webhook_event.
SELECT public.pancake_erase_events(%(ids)s) AS erased

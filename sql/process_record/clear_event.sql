-- Erase a claimed event: it is a version of an erased customer.
-- Returns one row: erased (1). Relies on pk_pancake_webhook_event.
SELECT public.pancake_erase_events(ARRAY[%(id)s::bigint]) AS erased

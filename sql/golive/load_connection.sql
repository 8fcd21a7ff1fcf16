-- Load what the connection to Pancake has by now.
-- Returns one row per connection: name, is_disabled, has_key, is_delivered (the webhook brought a record).
-- Relies on pancake_connection, which is small, and on the events' indexes.
SELECT
    c.name,
    c.status = 'disabled' AS is_disabled,
    c.api_key_encrypted IS NOT NULL AS has_key,
    EXISTS (
        SELECT FROM public.pancake_webhook_event AS e WHERE e.connection_id = c.id AND e.origin = 'webhook'
    ) AS is_delivered
FROM public.pancake_connection AS c
ORDER BY c.name

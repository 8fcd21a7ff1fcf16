-- List the connections with what came of them last.
-- Returns one row per connection: id, name, status, status_changed_at, last_poll_at, last_webhook_at (of the last day),
-- active_sources. Relies on ix_pancake_webhook_event_created_at, which it reads back from the newest event.
SELECT
    c.id::text AS id,
    c.name,
    c.status,
    c.status_changed_at,
    c.last_poll_at,
    (
        SELECT e.created_at
        FROM public.pancake_webhook_event AS e
        WHERE e.connection_id = c.id AND e.origin = 'webhook' AND e.created_at > %(now)s::timestamptz - interval '24 hours'
        ORDER BY e.created_at DESC
        LIMIT 1
    ) AS last_webhook_at,
    (SELECT count(*) FROM public.pancake_source AS s WHERE s.connection_id = c.id AND s.is_active) AS active_sources
FROM public.pancake_connection AS c
ORDER BY c.name, c.id

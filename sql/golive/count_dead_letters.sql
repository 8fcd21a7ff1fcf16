-- Load the share of dead letters among the deliveries of the window.
-- Returns one row: events, dead, ratio (null without events). Relies on ix_pancake_webhook_event_created_at.
SELECT
    count(*) AS events,
    count(*) FILTER (WHERE e.status = 'dead_letter') AS dead,
    count(*) FILTER (WHERE e.status = 'dead_letter')::float / nullif(count(*), 0) AS ratio
FROM public.pancake_webhook_event AS e
WHERE e.created_at >= %(from)s AND e.created_at < %(to)s AND e.error_code IS DISTINCT FROM 'test_ping'

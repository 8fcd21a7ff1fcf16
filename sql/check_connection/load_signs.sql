-- Load the time of a connection's last webhook, and what polling found since then that the webhook should have brought.
-- Returns one row: last_webhook_at, missed, missed_since; looks back 7 days. Relies on ix_pancake_webhook_event_created_at.
WITH newest AS (
    SELECT e.arrived_at, e.created_at
    FROM public.pancake_webhook_event AS e
    WHERE
        e.connection_id = %(connection_id)s
        AND e.origin = 'webhook'
        AND e.created_at > %(now)s::timestamptz - interval '7 days'
    ORDER BY e.created_at DESC
    LIMIT 1
)
SELECT
    (SELECT n.arrived_at FROM newest AS n) AS last_webhook_at,
    count(DISTINCT (m.table_name, m.record_id)) FILTER (WHERE m.record_id IS NOT NULL) AS missed,
    min(m.created_at) AS missed_since
FROM public.pancake_webhook_event AS m
WHERE
    m.connection_id = %(connection_id)s
    AND m.origin IN ('poll', 'reconcile')
    AND m.created_at > coalesce((SELECT n.created_at FROM newest AS n), %(now)s::timestamptz - interval '7 days')
    AND m.modified_on >= coalesce((SELECT n.arrived_at FROM newest AS n), '-infinity')

-- Count the events of the last hour by status and origin. A dead letter because of what it holds counts as `invalid`.
-- Returns status, origin, events: one row for each pair.
-- Relies on ix_pancake_webhook_event_created_at.
WITH recent AS (
    SELECT
        CASE
            WHEN e.status = 'dead_letter' AND (e.error_code LIKE 'invalid\_%%' OR e.error_code IN ('test_ping', 'erased'))
                THEN 'invalid'
            ELSE e.status
        END AS status,
        e.origin
    FROM public.pancake_webhook_event AS e
    WHERE e.created_at > %(now)s::timestamptz - interval '1 hour'
)
SELECT s.status, o.origin, count(r.status) AS events
FROM unnest(ARRAY[
    'received', 'ingested', 'processed', 'failed', 'dead_letter', 'invalid', 'skipped_kill_switch', 'skipped_source_disabled'
]) AS s (status)
CROSS JOIN unnest(ARRAY['webhook', 'poll', 'reconcile']) AS o (origin)
LEFT JOIN recent AS r USING (status, origin)
GROUP BY s.status, o.origin

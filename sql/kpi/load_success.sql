-- KPI success: share of processed deliveries, of those created in the window that should be processed by now.
-- Returns one row: processed, failed, dead, stuck (received or ingested for more than 5 minutes), ratio (null without
-- deliveries); not part of the ratio: skipped, invalid, waiting. Relies on ix_pancake_webhook_event_created_at.
WITH counted AS (
    SELECT
        count(*) FILTER (WHERE e.status = 'processed') AS processed,
        count(*) FILTER (WHERE e.status = 'failed') AS failed,
        count(*) FILTER (WHERE e.status = 'dead_letter' AND NOT (e.error_code LIKE 'invalid\_%%' OR e.error_code = 'test_ping')) AS dead,
        count(*) FILTER (
            WHERE e.status IN ('received', 'ingested') AND e.received_at < %(to)s::timestamptz - interval '5 minutes'
        ) AS stuck,
        count(*) FILTER (WHERE e.status LIKE 'skipped\_%%') AS skipped,
        count(*) FILTER (WHERE e.status = 'dead_letter' AND (e.error_code LIKE 'invalid\_%%' OR e.error_code = 'test_ping')) AS invalid,
        count(*) FILTER (
            WHERE e.status IN ('received', 'ingested') AND e.received_at >= %(to)s::timestamptz - interval '5 minutes'
        ) AS waiting
    FROM public.pancake_webhook_event AS e
    WHERE e.created_at >= %(from)s AND e.created_at < %(to)s
)
SELECT
    c.processed, c.failed, c.dead, c.stuck, c.skipped, c.invalid, c.waiting,
    c.processed::float / nullif(c.processed + c.failed + c.dead + c.stuck, 0) AS ratio
FROM counted AS c

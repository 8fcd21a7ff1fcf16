-- KPI success: share of processed deliveries, of those created in the window that should be processed by now.
-- Returns one row: processed, failed, dead, stuck (received or ingested for more than 5 minutes), ratio (null without
-- deliveries); not part of the ratio: held, invalid, waiting, held_earlier (created before the window and held at present).
-- Relies on ix_pancake_webhook_event_created_at, ix_pancake_webhook_event_held.
WITH arrived AS (
    SELECT
        e.status,
        e.error_code LIKE 'invalid\_%%' OR e.error_code IN ('test_ping', 'erased') AS is_invalid,
        -- Not received_at: each refire sets it, and a stuck event would never be more than a few minutes old. An event that was
        -- held or given up counts from its replay, which alone brings it back.
        greatest(e.created_at, e.replayed_at) < %(to)s::timestamptz - interval '5 minutes' AS is_old
    FROM public.pancake_webhook_event AS e
    WHERE e.created_at >= %(from)s AND e.created_at < %(to)s
), counted AS (
    SELECT
        count(*) FILTER (WHERE a.status = 'processed') AS processed,
        count(*) FILTER (WHERE a.status = 'failed') AS failed,
        count(*) FILTER (WHERE a.status = 'dead_letter' AND NOT a.is_invalid) AS dead,
        count(*) FILTER (WHERE a.status IN ('received', 'ingested') AND a.is_old) AS stuck,
        count(*) FILTER (WHERE a.status LIKE 'skipped\_%%') AS held,
        count(*) FILTER (WHERE a.status = 'dead_letter' AND a.is_invalid) AS invalid,
        count(*) FILTER (WHERE a.status IN ('received', 'ingested') AND NOT a.is_old) AS waiting
    FROM arrived AS a
), earlier AS (
    -- The time is a filter and no condition: with a condition the planner may read all events before the window.
    SELECT count(*) FILTER (WHERE e.created_at < %(from)s) AS held
    FROM public.pancake_webhook_event AS e
    WHERE e.status IN ('skipped_kill_switch', 'skipped_source_disabled')
)
SELECT
    c.processed, c.failed, c.dead, c.stuck, c.held, e.held AS held_earlier, c.invalid, c.waiting,
    c.processed::float / nullif(c.processed + c.failed + c.dead + c.stuck, 0) AS ratio
FROM counted AS c
CROSS JOIN earlier AS e

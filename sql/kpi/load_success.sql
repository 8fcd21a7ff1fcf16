-- name: kpi/load_success
-- KPI success: share of processed deliveries, of those created in the window that should be processed by now.
-- Returns one row: processed, failed, dead, stuck (received or ingested for more than 5 minutes), ratio (null without
-- deliveries); not part of the ratio: held, invalid, waiting, held_earlier (created before the window and held at present).
-- Relies on ix_pancake_webhook_event_created_at, ix_pancake_webhook_event_held.
WITH counted AS (
    SELECT
        count(*) FILTER (WHERE a.class = 'processed') AS processed,
        count(*) FILTER (WHERE a.class = 'failed') AS failed,
        count(*) FILTER (WHERE a.class = 'dead') AS dead,
        count(*) FILTER (WHERE a.class = 'stuck') AS stuck,
        count(*) FILTER (WHERE a.class = 'held') AS held,
        count(*) FILTER (WHERE a.class = 'invalid') AS invalid,
        count(*) FILTER (WHERE a.class = 'waiting') AS waiting
    FROM public.pancake_arrived_event(%(from)s, %(to)s) AS a
), earlier AS (
    -- The time is a filter and no condition: with a condition the planner may read all events before the window.
    SELECT count(*) FILTER (WHERE e.created_at < %(from)s) AS held
    FROM public.pancake_webhook_event AS e
    WHERE public.pancake_event_is_held(e.status)
)
SELECT
    c.processed, c.failed, c.dead, c.stuck, c.held, e.held AS held_earlier, c.invalid, c.waiting,
    c.processed::float / nullif(c.processed + c.failed + c.dead + c.stuck, 0) AS ratio
FROM counted AS c
CROSS JOIN earlier AS e

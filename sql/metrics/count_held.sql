-- Count the events that only a replay brings back, by status, and find the oldest of each. A dead letter because of what it
-- holds counts as `invalid`, as in kpi/load_success.
-- Returns status, events, oldest_at (null without one): one row for each of the four.
-- Relies on ix_pancake_webhook_event_held, which has every column: the rows themselves are not read.
WITH held AS (
    -- By code first: there are few, and they are classified once.
    SELECT e.status, e.error_code, count(*) AS events, min(greatest(e.created_at, e.replayed_at)) AS oldest_at
    FROM public.pancake_webhook_event AS e
    WHERE e.status IN ('dead_letter', 'skipped_kill_switch', 'skipped_source_disabled')
    GROUP BY e.status, e.error_code
), classified AS (
    SELECT
        CASE
            WHEN h.error_code LIKE 'invalid\_%%' OR h.error_code IN ('test_ping', 'erased') THEN 'invalid'
            ELSE h.status
        END AS status,
        h.events,
        h.oldest_at
    FROM held AS h
)
SELECT s.status, coalesce(sum(c.events), 0)::bigint AS events, min(c.oldest_at) AS oldest_at
FROM unnest(ARRAY['dead_letter', 'invalid', 'skipped_kill_switch', 'skipped_source_disabled']) AS s (status)
LEFT JOIN classified AS c USING (status)
GROUP BY s.status

-- Count the events that only a replay brings back, by status, and find the oldest of each. A dead letter because of what it
-- holds counts as `invalid`, as in kpi/load_success.
-- Returns status, events, oldest_at (null without one): one row for each of the four.
-- Relies on ix_pancake_webhook_event_held.
WITH held AS (
    SELECT
        CASE
            WHEN e.error_code LIKE 'invalid\_%%' OR e.error_code IN ('test_ping', 'erased') THEN 'invalid'
            ELSE e.status
        END AS status,
        greatest(e.created_at, e.replayed_at) AS since
    FROM public.pancake_webhook_event AS e
    WHERE e.status IN ('dead_letter', 'skipped_kill_switch', 'skipped_source_disabled')
)
SELECT s.status, count(h.status) AS events, min(h.since) AS oldest_at
FROM unnest(ARRAY['dead_letter', 'invalid', 'skipped_kill_switch', 'skipped_source_disabled']) AS s (status)
LEFT JOIN held AS h USING (status)
GROUP BY s.status

-- Count the events that wait to be processed, by status, and find the oldest of each, by its creation or its replay.
-- Returns status, events, oldest_at (null without one): one row for each of the three statuses.
-- Relies on ix_pancake_webhook_event_waiting and ix_pancake_webhook_event_retry.
WITH waiting AS (
    -- Not received_at: each refire sets it.
    SELECT e.status, greatest(e.created_at, e.replayed_at) AS since
    FROM public.pancake_webhook_event AS e
    WHERE e.status IN ('received', 'ingested')
    UNION ALL
    SELECT e.status, greatest(e.created_at, e.replayed_at)
    FROM public.pancake_webhook_event AS e
    WHERE e.status = 'failed'
)
SELECT s.status, count(w.status) AS events, min(w.since) AS oldest_at
FROM unnest(ARRAY['received', 'ingested', 'failed']) AS s (status)
LEFT JOIN waiting AS w USING (status)
GROUP BY s.status

-- Count the events of our trigger that Hasura has not delivered: those that wait, and those locked for more than 5 minutes, whose
-- Hasura instance died.
-- Returns state (pending, locked), events, oldest_at (null without one).
-- Relies on Hasura's index event_log_fetch_events.
WITH undelivered AS (
    SELECT
        CASE WHEN l.locked < %(now)s::timestamptz - interval '5 minutes' THEN 'locked' ELSE 'pending' END AS state,
        l.created_at AT TIME ZONE 'UTC' AS created_at
    FROM hdb_catalog.event_log AS l
    WHERE
        l.delivered = 'f' AND l.error = 'f' AND l.archived = 'f'
        AND l.trigger_name = 'pancake_webhook_event_status_update'
)
SELECT s.state, count(u.state) AS events, min(u.created_at) AS oldest_at
FROM unnest(ARRAY['pending', 'locked']) AS s (state)
LEFT JOIN undelivered AS u USING (state)
GROUP BY s.state

-- Count the events of our trigger that Hasura gave up in the last day: retry_failed brings the leads back.
-- Returns one row: state (failed), events, oldest_at (null without one).
-- Relies on Hasura's index event_log_trigger_name_idx; purge_events bounds what it reads.
SELECT 'failed' AS state, count(*) AS events, min(l.created_at AT TIME ZONE 'UTC') AS oldest_at
FROM hdb_catalog.event_log AS l
WHERE
    l.trigger_name = 'pancake_webhook_event_status_update'
    AND l.error
    AND l.created_at > (%(now)s::timestamptz - interval '1 day') AT TIME ZONE 'UTC'

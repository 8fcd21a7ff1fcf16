-- Count the ticks of each cron: those that Hasura has scheduled for later, those that are due for more than a minute, and those
-- that it gave up in the last day.
-- Returns name, later, overdue, lost: one row per cron. Relies on Hasura's index hdb_cron_event_status.
-- Runs in Hasura's metadata database.
WITH ticks AS (
    SELECT
        c.trigger_name,
        c.status = 'scheduled' AND c.scheduled_time > %(now)s::timestamptz AS is_later,
        c.status = 'scheduled' AND c.scheduled_time < %(now)s::timestamptz - interval '1 minute' AS is_overdue,
        c.status IN ('dead', 'error') AND c.scheduled_time > %(now)s::timestamptz - interval '1 day' AS is_lost
    FROM hdb_catalog.hdb_cron_events AS c
    WHERE c.status IN ('scheduled', 'dead', 'error')
)
SELECT
    n.name,
    count(*) FILTER (WHERE t.is_later) AS later,
    count(*) FILTER (WHERE t.is_overdue) AS overdue,
    count(*) FILTER (WHERE t.is_lost) AS lost
FROM unnest(%(names)s::text[]) AS n (name)
LEFT JOIN ticks AS t ON t.trigger_name = 'pancake_' || n.name
GROUP BY n.name

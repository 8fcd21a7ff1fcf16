-- Count the ticks of our crons that Hasura gave up in the last day: 'dead' without a call, 'error' after the last try.
-- Returns trigger_name, until (the last one's time) and untold (those after `told_until`), one row per cron with any.
-- Relies on Hasura's index on status. Runs in Hasura's metadata database.
SELECT
    c.trigger_name,
    count(*) FILTER (WHERE c.scheduled_time > COALESCE(%(told_until)s::timestamptz, '-infinity')) AS untold,
    max(c.scheduled_time) AS until
FROM hdb_catalog.hdb_cron_events AS c
WHERE
    c.status IN ('dead', 'error')
    AND c.trigger_name = ANY (%(triggers)s)
    AND c.scheduled_time > %(now)s::timestamptz - interval '1 day'
GROUP BY c.trigger_name
ORDER BY c.trigger_name
